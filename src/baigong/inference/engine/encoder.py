"""Models that read and do not write: makers of vectors, and classifiers of texts or pairs of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers
from torch import Tensor
from typing_extensions import override

from baigong.inference.engine.embedding import Texts
from baigong.inference.engine.foreign import Foreign
from baigong.inference.engine.pooling import Pooling
from baigong.model.vectors import Vectors, longest_text


class Reader(Foreign):
    """Reads texts side by side, each filled up to the longest."""

    def __init__(self, kind: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(kind, folder, dtype, device)
        self._pad = _pad_id(self._fields)
        kinds = getattr(self._fields, "type_vocab_size", None) or 0
        self._has_types = "token_type_ids" in self._accepts and kinds > 1

    def _read(self, texts: Texts, seconds: Sequence[int] = ()) -> Any:
        longest = max(len(text) for text in texts)
        rows = [[*text, *[self._pad] * (longest - len(text))] for text in texts]
        lengths = torch.tensor([len(text) for text in texts], device=self.device).unsqueeze(1)
        places = torch.arange(longest, device=self.device)
        inputs = {
            "input_ids": torch.tensor(rows, device=self.device),
            "attention_mask": (places < lengths).long(),
        }
        if self._has_types and seconds:
            begin = torch.tensor(seconds, device=self.device).unsqueeze(1)
            inputs["token_type_ids"] = ((places >= begin) & (places < lengths)).long()
        return self._model(**inputs)


class Embedder(Reader):
    """Makes vectors."""

    tasks = ("embed",)

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(transformers.AutoModel, folder, dtype, device)
        self._pooling = Pooling.of(Vectors.read(folder))
        longest = longest_text(folder)
        if longest is not None:
            context = min(self.config.context, longest)
            self.config = msgspec.structs.replace(self.config, context=context)

    @override
    def embed(self, texts: Texts) -> Tensor:
        states = self._read(texts).last_hidden_state
        return self._pooling([row[: len(text)] for row, text in zip(states, texts, strict=True)])


class Classifier(Reader):
    """Tells how likely each label is."""

    tasks = ("classify",)

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(transformers.AutoModelForSequenceClassification, folder, dtype, device)
        config = self._model.config
        self.labels = tuple(config.id2label[number] for number in range(config.num_labels))
        self._shares = _shares(config)
        # A decoder finds a text's end by the padding after it.
        self._is_causal = getattr(self._fields, "pad_token_id", None) is None

    @override
    def classify(self, texts: Texts, seconds: Sequence[int]) -> Tensor:
        if not self._is_causal:
            return self._shares(self._read(texts, seconds).logits.float())
        rows = [
            self._read([text], seconds[number : number + 1]).logits[0]
            for number, text in enumerate(texts)
        ]
        return self._shares(torch.stack(rows).float())


def _shares(config: Any) -> Callable[[Tensor], Tensor]:
    """From logits to shares; a single score is a share of one, unless the model's makers say otherwise."""
    own = getattr(config, "sentence_transformers", None) or {}
    name = own.get("activation_fn") or getattr(config, "sbert_ce_default_activation_function", "")
    if config.problem_type == "regression":
        # The model was tuned on numbers less their mean, by their spread.
        units = {"mean": 0.0, "scale": 1.0} | (getattr(config, "regression", None) or {})
        return lambda logits: logits * units["scale"] + units["mean"]
    if str(name).endswith("Identity"):
        return lambda logits: logits
    if config.num_labels == 1 or config.problem_type == "multi_label_classification":
        return torch.sigmoid
    return lambda logits: logits.softmax(-1)


def _pad_id(fields: Any) -> int:
    pad = getattr(fields, "pad_token_id", None)
    return 0 if pad is None else int(pad)
