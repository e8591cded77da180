"""Requests that are answered with a row of numbers for each text or image, and decoders that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from baigong.inference.engine.attention import SelfAttention
from baigong.inference.engine.decoder import Decoder
from baigong.inference.engine.messages import Choose, Classify, Embed, Look, Rows
from baigong.inference.engine.pooling import Pooling

Texts = Sequence[Sequence[int]]

_IMAGE = 256  # tokens that looking at an image costs about as much as


class Reads(Protocol):
    """What turns lists of token ids into rows of numbers, float32."""

    def embed(self, texts: Texts) -> Tensor:
        """Vectors [texts, size]."""
        ...

    def choose(self, texts: Texts, tokens: Sequence[int]) -> Tensor:
        """Shares [texts, tokens] of the next token, among `tokens` alone."""
        ...

    def classify(self, texts: Texts, seconds: Sequence[int]) -> Tensor:
        """Shares [texts, labels]; a pair's second text begins at its place in `seconds`."""
        ...

    def look(self, images: Sequence[bytes]) -> Tensor:
        """Shares [images, labels].

        Raises:
            InvalidInput: a file is not an image.
        """
        ...


class ReadJob:
    """One such request, done in steps of about equal size."""

    def __init__(self, asked: Embed | Choose | Classify | Look) -> None:
        self._asked = asked
        self.id = asked.id
        if isinstance(asked, Look):
            lengths = [_IMAGE] * len(asked.images)
        else:
            lengths = [len(text) for text in asked.ids]
        self._lengths = lengths
        # By length, so that one step does not hold a long text and many short ones.
        self._todo = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        self._rows: dict[int, Tensor] = {}

    @property
    def is_done(self) -> bool:
        return not self._todo

    def advance(self, model: Reads, max_tokens: int) -> None:
        """Read as many more texts as have `max_tokens` together when all are as long as the longest.

        One is read in any case.
        """
        part: list[int] = []
        while self._todo and self._lengths[self._todo[-1]] * (len(part) + 1) <= max_tokens:
            part.append(self._todo.pop())
        if self._todo and not part:
            part.append(self._todo.pop())
        if part:
            self._rows |= zip(part, self._read(model, part), strict=True)

    def reply(self) -> Rows:
        """All rows in the order of the texts."""
        if not self._rows:
            return Rows(self.id, 0, b"")
        rows = torch.stack([self._rows[index] for index in range(len(self._rows))])
        return Rows(self.id, rows.shape[1], rows.float().cpu().numpy().tobytes())

    def _read(self, model: Reads, part: Sequence[int]) -> Tensor:
        if isinstance(self._asked, Look):
            return model.look([self._asked.images[index] for index in part])
        texts = [self._asked.ids[index] for index in part]
        match self._asked:
            case Embed():
                return model.embed(texts)
            case Choose(tokens=tokens):
                return model.choose(texts, tokens)
            case Classify(seconds=seconds):
                return model.classify(texts, [seconds[index] for index in part] if seconds else [])


def embed(texts: Texts, decoder: Decoder, pooling: Pooling) -> Tensor:
    """See Reads."""
    return pooling(_states(texts, decoder))


def choose(texts: Texts, tokens: Sequence[int], decoder: Decoder) -> Tensor:
    """See Reads."""
    last = torch.stack([states[-1] for states in _states(texts, decoder)])
    return decoder.logits(last)[:, list(tokens)].softmax(-1, torch.float32)


def _states(texts: Texts, decoder: Decoder) -> Sequence[Tensor]:
    """Each text's last hidden states [tokens, hidden_size]; nothing is cached."""
    lengths = [len(text) for text in texts]
    ids = torch.tensor([id for text in texts for id in text], device=decoder.device)
    positions = torch.cat([torch.arange(n, device=decoder.device) for n in lengths])
    attend = SelfAttention(decoder.config, lengths, decoder.dtype, decoder.device)
    return torch.split(decoder.hidden(ids, positions, attend), lengths)
