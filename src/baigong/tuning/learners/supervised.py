"""Supervised tuning: the answers of the rows are made likelier, every token of them alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged, read_answers
from baigong.tuning.rows import Example, Prepared
from baigong.tuning.weights import load_weights


class Supervised:
    """Cross entropy of answer tokens. Right is a row whose whole answer greedy decoding would give."""

    def __init__(self, job: TuneJob, prepared: Prepared[Example]) -> None:
        self.weights = load_weights(job)

    def loss(self, examples: Sequence[Example]) -> Tensor:
        return read_answers(self.weights, examples).nats.sum()

    def judge(self, examples: Sequence[Example]) -> Judged:
        reading = read_answers(self.weights, examples)
        return Judged(reading.nats.sum(), reading.is_likeliest.all(1))

    def figures(self) -> dict[str, float]:
        return {}
