"""Vectors without a network: each token has one, learnt before, and a text's is their mean.

It reads the folders that model2vec reads: `embeddings` (tokens, size) with, where they are small
integers, `weights` (tokens) to multiply them by. No torch, and less than a millisecond for a question.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy import sparse
from tokenizers import Tokenizer

from baigong.errors import InvalidInput, NotFound
from baigong.inference.seams import seams_of

Floats = NDArray[np.float32]

_HINT = "Download or train it again."
_KEPT = 200_000  # words whose tokens are remembered, some 40 MB
_SHORT = 20  # characters of a word that may come again
_BRIEF = 500  # characters of a text that takes no longer than to hand it to a thread
_AT_ONCE = 1024  # texts between two breaths, so that their ids take little memory


class StaticEmbed:
    """Embeds by a table of token vectors (types.Embed). May be called from any thread."""

    def __init__(self, folder: Path, name: str | None = None) -> None:
        """Read the model in `folder`; `name` is what knowledge remembers it by.

        Raises:
            NotFound: there is no such folder.
            InvalidInput: a file is missing or broken, or the files do not fit each other.
        """
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder}.", hint="Check the path.")
        self.name = name or folder.name
        _check_kind(folder)
        self.tokenizer = _tokenizer(folder)
        self._seams = seams_of(self.tokenizer)
        self._table = _table(folder)
        self._kept: dict[str, Sequence[int]] = {}
        self.size = int(self._table.shape[1])
        pieces = self.tokenizer.get_vocab_size()
        if pieces > len(self._table):
            raise InvalidInput(
                f"{folder.name}: tokenizer.json has {pieces} tokens, model.safetensors "
                f"{len(self._table)} vectors.",
                hint=_HINT,
            )
        unknown = self.tokenizer.token_to_id(getattr(self.tokenizer.model, "unk_token", None) or "")
        if unknown is not None:  # says nothing, and model2vec leaves it out
            self._table[unknown] = 0

    async def __call__(self, texts: Sequence[str]) -> Floats:
        """A unit vector for each text."""
        if len(texts) == 1 and len(texts[0]) <= _BRIEF:
            return self.vectors(texts)
        return await asyncio.to_thread(self.vectors, texts)

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (texts, size). A text without a known word gets the same one as no text."""
        parts = [self._means(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self.size), np.float32)

    def of_ids(self, batches: Sequence[Sequence[int]]) -> Floats:
        """As `vectors`, of texts that are tokens already."""
        return _unit(self._sums(batches))

    def _means(self, texts: Sequence[str]) -> Floats:
        """Word by word, each but once: no token reaches over a blank, and most words come again."""
        numbers: dict[str, int] = {}
        places = [
            [numbers.setdefault(word, len(numbers)) for word in text.split()]
            for text in self._opened(texts)
        ]
        return _unit(_counts(places, len(numbers)) @ self._sums(self._ids(list(numbers))))

    def _opened(self, texts: Sequence[str]) -> list[str]:
        if self._seams is not None:
            return self._seams.open(texts)
        # JSON can smuggle in lone surrogates, which no tokenizer reads.
        return [text.encode("utf-8", "replace").decode() for text in texts]

    def _ids(self, words: Sequence[str]) -> list[Sequence[int]]:
        """The tokens of each word. Short ones are kept: a language's words come again and again."""
        told = [self._kept.get(word) for word in words]
        new = [place for place, ids in enumerate(told) if ids is None]
        found = self.tokenizer.encode_batch_fast(
            [words[place] for place in new], add_special_tokens=False
        )
        if len(self._kept) > _KEPT:
            self._kept.clear()
        for place, one in zip(new, found, strict=True):
            ids = told[place] = one.ids
            if len(words[place]) <= _SHORT:
                self._kept[words[place]] = ids
        return [ids or () for ids in told]

    def _sums(self, batches: Sequence[Sequence[int]]) -> Floats:
        sums: Floats = _counts(batches, len(self._table)) @ self._table
        return sums


def _counts(rows: Sequence[Sequence[int]], columns: int) -> Any:
    """(rows, columns) in CSR, from the columns that each row names, as often as it does."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    places = np.fromiter(chain.from_iterable(rows), np.int64, offsets[-1])
    ones = np.ones(len(places), np.float32)
    return sparse.csr_array((ones, places, offsets), shape=(len(rows), columns))


def is_static(folder: Path) -> bool:
    """Whether the model in `folder` is one for this module."""
    try:
        return bool(json.loads((folder / "config.json").read_bytes())["model_type"] == "model2vec")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _check_kind(folder: Path) -> None:
    if not is_static(folder):
        raise InvalidInput(
            f"{folder.name}/config.json is not that of a static embedder.",
            hint='It says {"model_type": "model2vec"}.',
        )


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from error
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise _broken(path, error) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _table(folder: Path) -> Floats:
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            table = file.get_tensor("embeddings") if "embeddings" in names else None
            weights = file.get_tensor("weights") if "weights" in names else None
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from error
    if (
        table is None
        or table.ndim != 2
        or (weights is not None and weights.shape != table.shape[:1])
    ):
        raise InvalidInput(
            f"{folder.name}/model.safetensors holds no table of vectors.", hint=_HINT
        )
    whole: Floats = table.astype(np.float32)
    if weights is not None:
        whole *= weights.astype(np.float32)[:, None]
    if not np.isfinite(whole).all():
        raise InvalidInput(
            f"{folder.name}/model.safetensors holds numbers that are none.", hint=_HINT
        )
    return whole


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    empty = lengths[:, 0] < 1e-12
    if empty.any():  # an index wants unit vectors of all
        vectors[empty] = vectors.shape[1] ** -0.5
        lengths[empty] = 1
    unit: Floats = vectors / lengths
    return unit


def _broken(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(f"{path.parent.name}/{path.name} cannot be read: {error}", hint=_HINT)
