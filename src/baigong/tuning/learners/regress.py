"""Regression by a head: the number that a text has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from baigong.tuning.examples.labelled import Measured
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import Batch, label_fields, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.told import Told

_NEAR = 0.1  # of the training numbers' standard deviation: what counts as right


class Regress:
    """Squared error of numbers in training's own units: less their mean, by their standard deviation.

    `mean` and `scale` go into config.json, and the engine turns what the head says back with them.
    Right is a number that is nearer than a tenth of the standard deviation.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Measured]) -> None:
        values = torch.tensor([example.value for example in prepared.train], dtype=torch.float64)
        self.mean = float(values.mean())
        self.scale = float(values.std(correction=0)) or 1.0
        fields = label_fields(job, ["value"]) | {
            "problem_type": "regression",
            "regression": {"mean": self.mean, "scale": self.scale},
        }
        self.weights = load_headed(job, AutoModelForSequenceClassification, **fields)
        self.batch = Batch(self.weights)
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell

    def loss(self, examples: Sequence[Measured]) -> Tensor:
        return self._errors(examples).square().sum()

    def judge(self, examples: Sequence[Measured]) -> Judged:
        errors = self._errors(examples)
        return Judged(errors.square().sum(), errors.abs() < _NEAR)

    def figures(self) -> dict[str, float]:
        return {}

    def _tell(self) -> list[Told]:
        errors = self._errors(self.shown).tolist()
        return [
            Told(one.ids, [one.value + error * self.scale], unit=self.scale)
            for one, error in zip(self.shown, errors, strict=True)
        ]

    def _errors(self, examples: Sequence[Measured]) -> Tensor:
        """How far off each number is, in standard deviations (examples,)."""
        logits = self.weights.model(**self.batch([example.ids for example in examples])).logits
        wanted = [(example.value - self.mean) / self.scale for example in examples]
        errors: Tensor = logits[:, 0].float() - torch.tensor(wanted, device=logits.device)
        return errors
