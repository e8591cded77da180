"""Supervised tuning: the answers of the rows are made likelier, every token of them alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from baigong.tuning.examples.rows import Example, Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged, Reading, read_answers
from baigong.tuning.weights import load_weights


class Supervised:
    """Cross entropy of answer tokens. Right is a row whose whole answer greedy decoding would give.

    Its figures are shares of answer tokens that were the likeliest, of this process's rows.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Example]) -> None:
        self.weights = load_weights(job)
        self._right: dict[str, Tensor] = {}
        self._counted: dict[str, int] = {}

    def loss(self, examples: Sequence[Example]) -> Tensor:
        reading = read_answers(self.weights, examples)
        self._count("token_accuracy", examples, reading)
        return reading.nats.sum()

    def judge(self, examples: Sequence[Example]) -> Judged:
        reading = read_answers(self.weights, examples)
        self._count("validation_token_accuracy", examples, reading)
        return Judged(reading.nats.sum(), reading.is_likeliest.all(1))

    def figures(self) -> dict[str, float]:
        found = {name: float(n) / self._counted[name] for name, n in self._right.items()}
        self._right.clear()
        self._counted.clear()
        return found

    def _count(self, name: str, examples: Sequence[Example], reading: Reading) -> None:
        """Only added up here: a device is not waited for in every step."""
        counted = sum(example.counted for example in examples)
        right = counted - (~reading.is_likeliest).sum()
        self._right[name] = self._right.get(name, 0) + right
        self._counted[name] = self._counted.get(name, 0) + counted
