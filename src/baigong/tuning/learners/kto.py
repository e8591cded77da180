"""Kahneman-Tversky optimisation (arXiv 2402.01306): answers that were judged one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from baigong.tuning.examples.preferences import Rated
from baigong.tuning.examples.rows import Example, Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.learners.answers import log_likelihood, reference
from baigong.tuning.learners.tally import Tally
from baigong.tuning.weights import load_weights


class _Known(NamedTuple):
    """What does not change of a row: its reference, a strange answer to its prompt, that one's."""

    answer: float
    strange: Example
    strange_answer: float


class KTO:
    """A good answer's reward is to rise above the model's drift from its base, a bad one's to sink.

    The drift is what the paper calls z0: the mean, over the rows of a step, of what the model adds to
    the log-likelihood of another row's answer to the same prompt; never below zero and without a
    gradient. Which other row is settled once, so that its reference is known as well. Of several
    processes each has its own. Right is a good answer above the drift and a bad one below.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Rated]) -> None:
        self.weights = load_weights(job)
        self.beta = job.settings.beta
        self.good, self.bad = sides(prepared.train)
        rows = [*prepared.train, *prepared.validation]
        strange = [
            example
            for part in (prepared.train, prepared.validation)
            for example in strangers(part, prepared.longest)
        ]
        known = reference(self.weights, [*(row.answer for row in rows), *strange])
        each = zip(rows, known[: len(rows)], strange, known[len(rows) :], strict=True)
        self._known = {row.row: _Known(own, other, its) for row, own, other, its in each}
        self._drift = torch.zeros((), device=self.weights.device)
        self._tally = Tally()

    @torch.no_grad()
    def gather(self, parts: Sequence[Sequence[Rated]]) -> None:
        """Work out the drift on the rows of a step; without any it stays what it was."""
        added = [self._added([self._known[row.row][1:] for row in part]) for part in parts]
        if added:
            self._drift = self.beta * torch.cat(added).mean().clamp(min=0)

    def loss(self, rows: Sequence[Rated]) -> Tensor:
        answers, drift, is_good = self._rewards(rows), self._drift, self._is_good(rows)
        self._tally.add(
            reward_chosen=answers[is_good],
            reward_rejected=answers[~is_good],
            accuracy=is_right(answers, drift, is_good),
            drift=drift[None],
        )
        return kto_losses(answers, drift, is_good, self.good, self.bad).sum()

    def judge(self, rows: Sequence[Rated]) -> Judged:
        self.gather([rows])
        answers, drift, is_good = self._rewards(rows), self._drift, self._is_good(rows)
        losses = kto_losses(answers, drift, is_good, self.good, self.bad)
        return Judged(losses.sum(), is_right(answers, drift, is_good))

    def figures(self) -> dict[str, float]:
        """Of the training rows: mean rewards by verdict, their margin, the share right, the drift."""
        return self._tally.take()

    def _rewards(self, rows: Sequence[Rated]) -> Tensor:
        return self.beta * self._added([(row.answer, self._known[row.row].answer) for row in rows])

    def _added(self, answers: Sequence[tuple[Example, float]]) -> Tensor:
        """What the model adds to the log-likelihood of each by its base, (answers,)."""
        now = log_likelihood(self.weights, [example for example, _ in answers])
        return now - torch.tensor([before for _, before in answers], device=now.device)

    def _is_good(self, rows: Sequence[Rated]) -> Tensor:
        return torch.tensor([row.is_good for row in rows], device=self.weights.device)


def kto_losses(
    rewards: Tensor, drift: Tensor, is_good: Tensor, good: float = 1.0, bad: float = 1.0
) -> Tensor:
    """What each answer loses, (examples,): equation 8, where `good` and `bad` weigh the two sides."""
    above = torch.where(is_good, rewards - drift, drift - rewards)
    weight = torch.where(is_good, good, bad)
    return weight * (1 - torch.sigmoid(above))


def is_right(rewards: Tensor, drift: Tensor, is_good: Tensor) -> Tensor:
    """Whether each answer is on its side of the drift: (examples,)."""
    return torch.where(is_good, rewards > drift, rewards < drift)


def sides(rows: Sequence[Rated]) -> tuple[float, float]:
    """Weights of good and bad answers: the rarer side weighs more, so that both weigh alike in all.

    The paper asks for a ratio of the two sides' weights in all of 1 to 3/2.
    """
    good = sum(row.is_good for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        return 1.0, 1.0
    return max(1.0, bad / good), max(1.0, good / bad)


def strangers(rows: Sequence[Rated], longest: int) -> list[Example]:
    """To each row's prompt the answer of the next row, the last one's of the first.

    The order is that of content hashes, which is none. `longest` in tokens is not passed.
    """
    answers = [row.answer for row in rows]
    return [
        Example((one.ids[: one.start] + other.ids[other.start :])[:longest], one.start)
        for one, other in zip(answers, [*answers[1:], *answers[:1]], strict=True)
    ]
