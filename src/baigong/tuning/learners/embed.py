"""Vectors for search: a query's lies nearer to the text that answers it than to the others of its batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel

from baigong.tuning.examples.pairs import Matched, pooling_mode
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.heads import POOLER, Batch, load_headed, shortest
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged
from baigong.tuning.told import Told

_TEMPERATURE = 0.05


class Embed:
    """InfoNCE (arXiv 1807.03748) over the cosines: among all positives and negatives that go through together.

    What is equal to a query's own positive is no candidate for it. Right is a query whose positive
    ranks first. The figure `candidates` says among how many texts a query's was looked for on average:
    fewer where memory ran out, or several processes share a batch.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Matched]) -> None:
        base = Path(job.base)
        self.mode = pooling_mode(base)
        # A body is saved, which has no output head of its own that an engine could look for.
        self.weights = load_headed(job, AutoModel, tie_word_embeddings=True)
        for name, parameter in self.weights.model.named_parameters():
            if POOLER in name:  # no vector goes through it
                parameter.requires_grad_(False)
                self.weights.trained.pop(name, None)
        self.weights.kept = 1  # a batch goes through whole: its texts are each other's negatives
        self.weights.finish = lambda folder: write_modules(folder, self.mode)
        self.batch = Batch(self.weights)
        self.shown = shortest(prepared.train)
        self.weights.probe = self._tell
        self._counts: list[int] = []

    def loss(self, examples: Sequence[Matched]) -> Tensor:
        cosines = self._cosines(examples)
        self._counts += [cosines.shape[1]] * len(examples)
        return self._nats(cosines)

    def judge(self, examples: Sequence[Matched]) -> Judged:
        cosines = self._cosines(examples)
        own = torch.arange(len(examples), device=cosines.device)
        return Judged(self._nats(cosines), cosines.argmax(1) == own)

    def figures(self) -> dict[str, float]:
        if not self._counts:
            return {}
        mean = sum(self._counts) / len(self._counts)
        self._counts.clear()
        return {"candidates": mean}

    def _tell(self) -> list[Told]:
        vectors = self._vectors([one.query for one in self.shown]).tolist()
        return [Told(one.query, row) for one, row in zip(self.shown, vectors, strict=True)]

    def _nats(self, cosines: Tensor) -> Tensor:
        own = torch.arange(len(cosines), device=cosines.device)
        return F.cross_entropy(cosines / _TEMPERATURE, own, reduction="sum")

    def _cosines(self, examples: Sequence[Matched]) -> Tensor:
        """Of each query with all texts, (examples, texts); the positives come first, in their order."""
        negatives = [example.negative for example in examples if example.negative]
        texts = [*(example.positive for example in examples), *negatives]
        queries = self._vectors([example.query for example in examples])
        cosines = queries @ self._vectors(texts).T
        own = range(len(examples))
        is_twin = [
            [text == texts[row] and at != row for at, text in enumerate(texts)] for row in own
        ]
        return cosines.masked_fill(torch.tensor(is_twin, device=cosines.device), -1.0e4)

    def _vectors(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Unit vectors (texts, size)."""
        inputs = self.batch(texts)
        states = self.weights.model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"]
        if self.mode == "cls":
            pooled = states[:, 0]
        elif self.mode == "lasttoken":
            pooled = states[torch.arange(len(texts)), mask.sum(1) - 1]
        else:
            pooled = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(pooled, dim=-1)


def write_modules(folder: Path, mode: str) -> None:
    """The files by which sentence-transformers, and this engine, know how vectors are made."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds.items())
    ]
    size = json.loads((folder / "config.json").read_text("utf-8"))
    size = size.get("hidden_size") or size.get("dim") or size.get("d_model")
    names = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken"}
    pooling = {"word_embedding_dimension": size}
    pooling |= {f"pooling_mode_{name}": key == mode for key, name in names.items()}
    for path in ("1_Pooling", "2_Normalize"):
        (folder / path).mkdir(exist_ok=True)
    _write(folder / "modules.json", modules)
    _write(folder / "1_Pooling" / "config.json", pooling)
    if not (folder / "sentence_bert_config.json").exists():
        _write(folder / "sentence_bert_config.json", {"do_lower_case": False})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1), "utf-8")
