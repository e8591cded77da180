"""Classification by a head: which of the training rows' labels a text has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from baigong.model.architecture import read_fields
from baigong.tuning.base import read_base
from baigong.tuning.examples.labelled import Labelled
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import Batch, label_fields, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.spec import TINY_PARAMETERS
from baigong.tuning.suited import writes
from baigong.tuning.told import Told

# A tiny model knows a few thousand short rows by heart after a few passes. So each time it reads one
# this share of the tokens is left out, and the label is wanted with this much doubt.
_LEFT_OUT = 0.3
_DOUBT = 0.1
UNKNOWN = -100  # a label of a validation row that no training row has: never right, and no loss


class Classify:
    """Cross entropy over the labels. Right is a text whose likeliest label is its own.

    A tiny decoder comes to see a text as a whole, forwards and back: it has little to forget.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Labelled]) -> None:
        labels = sorted({example.label for example in prepared.train})
        self.numbers = {label: number for number, label in enumerate(labels)}
        base = read_base(Path(job.base))
        self.is_tiny = base.parameters < TINY_PARAMETERS
        fields = label_fields(job, labels)
        if self.is_tiny and writes(read_fields(base.folder)):
            fields["is_causal"] = False
        self.weights = load_headed(job, AutoModelForSequenceClassification, **fields)
        self.batch = Batch(self.weights)
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell

    def loss(self, examples: Sequence[Labelled]) -> Tensor:
        if not self.is_tiny:
            return self._cross_entropy(examples)[0]
        thinned = [
            msgspec.structs.replace(example, ids=_thinned(example.ids)) for example in examples
        ]
        return self._cross_entropy(thinned, _DOUBT)[0]

    def judge(self, examples: Sequence[Labelled]) -> Judged:
        loss, logits, wanted = self._cross_entropy(examples)
        return Judged(loss, logits.argmax(-1) == wanted)

    def figures(self) -> dict[str, float]:
        return {}

    def _tell(self) -> list[Told]:
        shares = self._cross_entropy(self.shown)[1].float().softmax(-1).tolist()
        return [Told(one.ids, row) for one, row in zip(self.shown, shares, strict=True)]

    def _cross_entropy(
        self, examples: Sequence[Labelled], doubt: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Summed loss, logits (examples, labels), and the labels' numbers (examples,)."""
        logits = self.weights.model(**self.batch([example.ids for example in examples])).logits
        numbers = [self.numbers.get(example.label, UNKNOWN) for example in examples]
        wanted = torch.tensor(numbers, device=logits.device)
        nats = torch.nn.functional.cross_entropy(
            logits.float(), wanted, reduction="sum", ignore_index=UNKNOWN, label_smoothing=doubt
        )
        return nats, logits, wanted


def _thinned(ids: list[int]) -> list[int]:
    """Some of a text's tokens, in order. The ends stay: encoders have marks there."""
    kept = torch.rand(len(ids)) >= _LEFT_OUT
    kept[0] = kept[-1] = True
    return [id for id, is_kept in zip(ids, kept.tolist(), strict=True) if is_kept]
