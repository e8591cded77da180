"""Reranking by a cross-encoder: a query and a text are read together, and get one score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification

from baigong.model.architecture import read_shape
from baigong.tuning.examples.labelled import Reader
from baigong.tuning.examples.pairs import OTHERS, Joined, fitting_pair
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import Batch, label_fields, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.told import Told


class Rerank:
    """Cross entropy over a query's texts: its positive, its negative, and some of other rows.

    Those are drawn anew in every step; validation has the same ones every time. Right is a query whose
    positive scores highest.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Joined]) -> None:
        base = Path(job.base)
        self.weights = load_headed(
            job, AutoModelForSequenceClassification, **label_fields(job, ["score"])
        )
        self.batch = Batch(self.weights)
        self.reader = Reader(base, read_shape(base).context)
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell
        rows = [*prepared.train, *prepared.validation]
        self.texts = list(dict.fromkeys(row.positive for row in rows))
        self.answers: dict[str, set[str]] = {}
        for row in rows:
            self.answers.setdefault(row.query, set()).add(row.positive)

    def loss(self, examples: Sequence[Joined]) -> Tensor:
        return self._read(examples, None)[0]

    def judge(self, examples: Sequence[Joined]) -> Judged:
        return Judged(*self._read(examples, torch.Generator().manual_seed(0)))

    def figures(self) -> dict[str, float]:
        return {}

    def _tell(self) -> list[Told]:
        read = [
            fitting_pair(self.reader.tokenizer, one.query, one.positive, self.reader.most)
            for one in self.shown
        ]
        inputs = self.batch([ids for ids, _ in read], [second for _, second in read])
        scores = self.weights.model(**inputs).logits[:, :1].float().sigmoid().tolist()
        return [Told(ids, row, second) for (ids, second), row in zip(read, scores, strict=True)]

    def _read(
        self, examples: Sequence[Joined], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Summed loss, and whether each query's positive comes first."""
        drawn = torch.randint(len(self.texts), (len(examples), OTHERS), generator=generator)
        lists = [self._candidates(*pair) for pair in zip(examples, drawn.tolist(), strict=True)]
        pairs = [
            fitting_pair(self.reader.tokenizer, example.query, text, self.reader.most)
            for example, texts in zip(examples, lists, strict=True)
            for text in texts
        ]
        inputs = self.batch([ids for ids, _ in pairs], [second for _, second in pairs])
        scores = self.weights.model(**inputs).logits[:, 0].float()
        each = scores.split([len(texts) for texts in lists])
        loss = torch.stack([-F.log_softmax(one, 0)[0] for one in each]).sum()
        return loss, torch.stack([one.argmax() == 0 for one in each])

    def _candidates(self, own: Joined, drawn: Sequence[int]) -> list[str]:
        """A query's texts, its positive first; no other text that answers it."""
        others = [text for n in drawn if (text := self.texts[n]) not in self.answers[own.query]]
        return list(
            dict.fromkeys([own.positive, *([own.negative] if own.negative else []), *others])
        )
