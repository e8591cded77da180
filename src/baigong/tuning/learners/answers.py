"""How likely a model holds whole answers, now and before it learnt: what preferences are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from baigong.tuning.examples.rows import Example
from baigong.tuning.learner import read_answers
from baigong.tuning.weights import Weights

_BATCH = 16


def log_likelihood(weights: Weights, examples: Sequence[Example]) -> Tensor:
    """Of each whole answer after its prompt: (examples,), a sum over its tokens."""
    return -read_answers(weights, examples).nats.sum(1)


@torch.no_grad()
def reference(weights: Weights, examples: Sequence[Example]) -> list[float]:
    """The same by the model as it stands before the first step, which is what it is held to.

    A fresh adapter adds nothing, so that this is the base for every method. It is worked out once:
    asking the untrained model again at every step would cost a third of the step, every epoch.
    Several processes share the work. A run that resumes works it out again, to the same bits.
    """
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    order = sorted(range(len(examples)), key=lambda index: examples[index].length)
    parts = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    found = torch.zeros(len(examples), device=weights.device)
    was_training = weights.model.training
    weights.model.eval()
    for part in parts[rank::count]:
        with weights.autocast():
            found[part] = log_likelihood(weights, [examples[index] for index in part])
    weights.model.train(was_training)
    if count > 1:
        dist.all_reduce(found)
    values: list[float] = found.tolist()
    return values
