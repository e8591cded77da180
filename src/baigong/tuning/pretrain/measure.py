"""Held-back bits per byte: how many bits a byte of unseen text costs, in each language."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from baigong.tuning.pretrain.batches import LANGUAGES, Batch, Row
from baigong.tuning.pretrain.corpus import Corpus, Document
from baigong.tuning.pretrain.network import LossFunction, tensors
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe


@dataclass(frozen=True)
class HeldBack:
    """Rows of one micro-batch's shape, so that the compiled loss serves here too."""

    batches: tuple[Batch, ...]
    num_bytes: int

    def bits_per_byte(self, loss: LossFunction, device: str) -> float:
        with torch.no_grad():
            nats = sum(float(loss(*tensors(batch, slice(None), device))) for batch in self.batches)
        return nats / math.log(2) / max(1, self.num_bytes)


def held_back(
    recipe: PretrainRecipe, tokenizer: Tokenizer, corpus: Corpus
) -> dict[Language, HeldBack]:
    return {
        language: _prepare(recipe, tokenizer, corpus.held_back[language])
        for language in LANGUAGES
        if corpus.held_back[language]
    }


def _prepare(recipe: PretrainRecipe, tokenizer: Tokenizer, documents: list[Document]) -> HeldBack:
    """The opening of each document; a document's first token has no context and is not counted."""
    length = recipe.schedule.sequence
    rows: list[Row] = []
    num_bytes = 0
    for document in documents[: max(1, recipe.budget.evaluate_tokens // length)]:
        ids = tokenizer.encode(document.text).ids[:length]
        row = Row(length)
        row.add(np.array(ids, np.int64), np.ones(len(ids), np.float32))
        rows.append(row)
        num_bytes += len(tokenizer.decode(ids[1:], skip_special_tokens=False).encode())
    count = max(1, recipe.schedule.micro_tokens // length)
    while len(rows) % count:
        rows.append(Row(length))
    groups = [rows[start : start + count] for start in range(0, len(rows), count)]
    return HeldBack(tuple(Batch.of(group) for group in groups), num_bytes)
