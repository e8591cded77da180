"""What the training loop asks of an objective, and how a batch of conversations is read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from baigong.tuning.job import TuneJob
from baigong.tuning.objectives import OBJECTIVES
from baigong.tuning.rows import Example, Prepared
from baigong.tuning.weights import Weights

_IGNORED = -100
# Rows are padded to a multiple of this: the processor's library compiles a kernel for every shape
# that it meets, and keeps it. 60 steps of mixed lengths: 0.9 GiB against 1.4, and 0.85 of the time.
_WIDTHS = 8


class Judged(NamedTuple):
    """How some examples fare: their summed loss, and which of them the model gets right, (examples,)."""

    loss: Tensor
    is_right: Tensor


class Learner(Protocol):
    """An objective at work on one model. Sums, not means: parts of a batch can then be added up.

    Everything random comes from torch's generator, which the loop seeds before every step.
    """

    weights: Weights

    def __init__(self, job: TuneJob, prepared: Prepared[Any]) -> None: ...

    def loss(self, examples: Sequence[Any], /) -> Tensor:
        """Summed over what the examples count, with a gradient."""
        ...

    def judge(self, examples: Sequence[Any], /) -> Judged:
        """The same of validation examples, without one."""
        ...

    def figures(self) -> dict[str, float]:
        """What else is worth a line in the curve, of the steps since the last call."""
        ...


def learner_of(job: TuneJob, prepared: Prepared[Any]) -> Learner:
    """The learner that a job asks for."""
    module, _, name = OBJECTIVES[job.settings.objective].learner.partition(":")
    found = importlib.import_module(f"baigong.tuning.learners.{module}")
    learner: Learner = getattr(found, name)(job, prepared)
    return learner


class Reading(NamedTuple):
    """A model's reading of some conversations, each (examples, columns) over where answers stand.

    Attributes:
        nats: of each answer token; zero where there is none.
        is_likeliest: whether it was the likeliest; true where there is none.
    """

    nats: Tensor
    is_likeliest: Tensor


class Answers(NamedTuple):
    """What a model says where answers stand.

    Attributes:
        logits: (examples, columns, vocabulary).
        wanted: the tokens that stand there, (examples, columns).
        are_there: whether one stands there.
    """

    logits: Tensor
    wanted: Tensor
    are_there: Tensor


def answer_logits(model: Any, device: torch.device, examples: Sequence[Example]) -> Answers:
    """What a model says wherever some example has an answer token.

    Rows are padded on the right, where causal attention never looks: no mask is needed. The output
    head sees only columns in which some row has an answer.
    """
    longest = max(len(example.ids) for example in examples)
    width = -(-longest // _WIDTHS) * _WIDTHS
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), width), _IGNORED)
    for number, example in enumerate(examples):
        row = torch.tensor(example.ids)
        ids[number, : len(row)] = row
        for start, stop in example.spans:
            # What stands at a column is predicted from the column before.
            labels[number, start - 1 : stop - 1] = row[start:stop]
    columns = (labels != _IGNORED).any(0).nonzero().squeeze(1)
    wanted = labels[:, columns].to(device)
    logits = model(
        input_ids=ids.to(device), logits_to_keep=columns.to(device), use_cache=False
    ).logits
    return Answers(logits, wanted, wanted != _IGNORED)


def read_answers(
    weights: Weights, examples: Sequence[Example], *, temperature: float = 1.0
) -> Reading:
    """Have the model read conversations, and see how likely it finds their answers."""
    return reading_of(answer_logits(weights.model, weights.device, examples), temperature)


def reading_of(answers: Answers, temperature: float = 1.0) -> Reading:
    """How likely the answers are by what a model said, softened by a temperature."""
    logits, wanted, there = answers
    each = torch.nn.functional.cross_entropy(
        logits[there].float() / temperature, wanted[there], reduction="none"
    )
    nats = torch.zeros(wanted.shape, device=wanted.device).masked_scatter(there, each)
    likeliest = logits.detach().argmax(-1) == wanted
    return Reading(nats, likeliest | ~there)
