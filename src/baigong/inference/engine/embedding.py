"""Texts as vectors: the mean of a text's last hidden states, at length one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from baigong.inference.engine.attention import SelfAttention
from baigong.inference.engine.decoder import Decoder


class Embeds(Protocol):
    """What turns lists of token ids into unit vectors [texts, hidden_size]."""

    def embed(self, texts: Sequence[Sequence[int]]) -> Tensor: ...


class EmbedJob:
    """One embedding request, done in steps of about equal size."""

    def __init__(self, id: int, texts: list[list[int]]) -> None:
        self.id = id
        self._texts = texts
        # By length, so that one step does not hold a long text and many short ones.
        self._todo = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        self._vectors: dict[int, Tensor] = {}

    @property
    def is_done(self) -> bool:
        return not self._todo

    def advance(self, model: Embeds, max_tokens: int) -> None:
        """Embed as many more texts as have `max_tokens` together, but one at least."""
        part: list[int] = []
        size = 0
        while self._todo and (not part or size + len(self._texts[self._todo[-1]]) <= max_tokens):
            part.append(self._todo.pop())
            size += len(self._texts[part[-1]])
        if part:
            vectors = model.embed([self._texts[index] for index in part])
            self._vectors |= zip(part, vectors, strict=True)

    def vectors(self) -> bytes:
        """All vectors in the order of the texts, float32."""
        if not self._vectors:
            return b""
        rows = [self._vectors[index] for index in range(len(self._texts))]
        return torch.stack(rows).cpu().numpy().tobytes()


def embed(texts: Sequence[Sequence[int]], decoder: Decoder) -> Tensor:
    """Unit vectors [texts, hidden_size], float32."""
    lengths = [len(text) for text in texts]
    ids = torch.tensor([id for text in texts for id in text], device=decoder.device)
    positions = torch.cat([torch.arange(n, device=decoder.device) for n in lengths])
    attend = SelfAttention(decoder.config, lengths, decoder.dtype, decoder.device)
    hidden = decoder.hidden(ids, positions, attend)
    means = torch.stack([part.float().mean(0) for part in torch.split(hidden, lengths)])
    return F.normalize(means, dim=-1)
