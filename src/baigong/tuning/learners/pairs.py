"""What the objectives share that learn from two answers to one prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from baigong.tuning.examples.preferences import Pair
from baigong.tuning.examples.rows import Example
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.learners.tally import Tally
from baigong.tuning.weights import load_weights


class Compared(NamedTuple):
    """Some pairs, each (pairs,): what each loses, and what its two answers are worth to the model."""

    losses: Tensor
    chosen: Tensor
    rejected: Tensor


class PairLearner(ABC):
    """Learns from pairs. Right is a pair whose chosen answer is worth more than the rejected one."""

    def __init__(self, job: TuneJob) -> None:
        self.weights = load_weights(job)
        self.beta = job.settings.beta
        self._tally = Tally()

    @abstractmethod
    def compare(self, pairs: Sequence[Pair]) -> Compared: ...

    def loss(self, pairs: Sequence[Pair]) -> Tensor:
        losses, chosen, rejected = self.compare(pairs)
        right = chosen > rejected
        self._tally.add(reward_chosen=chosen, reward_rejected=rejected, accuracy=right)
        return losses.sum()

    def judge(self, pairs: Sequence[Pair]) -> Judged:
        losses, chosen, rejected = self.compare(pairs)
        return Judged(losses.sum(), chosen > rejected)

    def figures(self) -> dict[str, float]:
        """Of the training pairs: mean rewards, the margin between them, the share that is right."""
        return self._tally.take()


def both(pairs: Sequence[Pair]) -> list[Example]:
    """All chosen answers, then all rejected ones."""
    return [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]


def sigmoid_losses(chosen: Tensor, rejected: Tensor) -> Tensor:
    """How surprising it is that the chosen one won, by Bradley and Terry: nats, (pairs,)."""
    return -torch.nn.functional.logsigmoid(chosen - rejected)
