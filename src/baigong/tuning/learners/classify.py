"""Classification by a head: which of the training rows' labels a text has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from baigong.tuning.examples.labelled import Labelled
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import Batch, label_fields, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.told import Told

UNKNOWN = -100  # a label of a validation row that no training row has: never right, and no loss


class Classify:
    """Cross entropy over the labels. Right is a text whose likeliest label is its own."""

    def __init__(self, job: TuneJob, prepared: Prepared[Labelled]) -> None:
        labels = sorted({example.label for example in prepared.train})
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.weights = load_headed(
            job, AutoModelForSequenceClassification, **label_fields(job, labels)
        )
        self.batch = Batch(self.weights)
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell

    def loss(self, examples: Sequence[Labelled]) -> Tensor:
        return self._cross_entropy(examples)[0]

    def judge(self, examples: Sequence[Labelled]) -> Judged:
        loss, logits, wanted = self._cross_entropy(examples)
        return Judged(loss, logits.argmax(-1) == wanted)

    def figures(self) -> dict[str, float]:
        return {}

    def _tell(self) -> list[Told]:
        shares = self._cross_entropy(self.shown)[1].float().softmax(-1).tolist()
        return [Told(one.ids, row) for one, row in zip(self.shown, shares, strict=True)]

    def _cross_entropy(self, examples: Sequence[Labelled]) -> tuple[Tensor, Tensor, Tensor]:
        """Summed loss, logits (examples, labels), and the labels' numbers (examples,)."""
        logits = self.weights.model(**self.batch([example.ids for example in examples])).logits
        numbers = [self.numbers.get(example.label, UNKNOWN) for example in examples]
        wanted = torch.tensor(numbers, device=logits.device)
        nats = torch.nn.functional.cross_entropy(
            logits.float(), wanted, reduction="sum", ignore_index=UNKNOWN
        )
        return nats, logits, wanted
