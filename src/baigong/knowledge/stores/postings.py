"""Full text in memory: which rows hold a term and how often, scored as LanceDB's index scores them.

Terms are taken as that index takes them: stemmed by Snowball's English rules, then without accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import Stemmer
from numpy.typing import NDArray

from baigong.knowledge.stores.passing import Mask

if TYPE_CHECKING:
    import pyarrow as pa

_K1, _B = 1.2, 0.75  # of BM25, as LanceDB has them
_AT_ONCE = 10_000  # rows that are taken apart together, some 100 MB
_ACCENTED = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_LETTERS = str.maketrans({
    "æ": "ae", "đ": "d", "ð": "d", "ı": "i", "ł": "l", "ø": "o", "œ": "oe", "ß": "ss", "þ": "th",
    "ə": "a",
})  # fmt: skip


@dataclass(frozen=True)
class Postings:
    """The rows of one piece of a table by the terms they hold.

    Attributes:
        terms: (terms,) ascending, each as the hash of its stem.
        starts: (terms + 1,) where the postings of each begin.
        rows, counts: (postings,) a row, and how often it holds the term.
        lengths: (rows,) how many terms each row has.
    """

    terms: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.uint16]
    lengths: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        arrays = (self.terms, self.starts, self.rows, self.counts, self.lengths)
        return sum(each.nbytes for each in arrays)

    @cached_property
    def filled(self) -> int:
        """How many rows hold a term at all."""
        return int(np.count_nonzero(self.lengths))

    @cached_property
    def total(self) -> int:
        """How many terms all rows have."""
        return int(self.lengths.sum())

    def of(self, terms: NDArray[np.int64]) -> list[slice]:
        """Where the postings of each of these terms are."""
        begin, end = (
            self.starts[np.searchsorted(self.terms, terms, side)].tolist()
            for side in ("left", "right")
        )
        return list(map(slice, begin, end))


def postings_of(texts: pa.ChunkedArray) -> Postings:
    """Of texts whose terms stand between blanks."""
    pieces = [texts.slice(at, _AT_ONCE) for at in range(0, len(texts), _AT_ONCE)]
    return joined([
        (_taken_apart(piece.combine_chunks()), np.ones(len(piece), bool)) for piece in pieces
    ])


def joined(pieces: Sequence[tuple[Postings, Mask]]) -> Postings:
    """The rows of all pieces that are left by their masks, numbered anew."""
    terms = np.unique(np.concatenate([piece.terms for piece, _ in pieces]))
    ranks, rows, counts, lengths = [], [], [], []
    first = 0
    for piece, left in pieces:
        kept = left[piece.rows]
        rank = np.searchsorted(terms, piece.terms).astype(np.int32)
        ranks.append(np.repeat(rank, np.diff(piece.starts))[kept])
        numbers = (np.cumsum(left) - 1 + first).astype(np.int32)
        rows.append(numbers[piece.rows[kept]])
        counts.append(piece.counts[kept])
        lengths.append(piece.lengths[left])
        first += len(lengths[-1])
    every = np.concatenate(ranks)
    ends = np.cumsum(np.bincount(every, minlength=len(terms)))
    order = np.argsort(every, kind="stable")
    return Postings(
        terms,
        np.concatenate([[0], ends]),
        np.concatenate(rows)[order],
        np.concatenate(counts)[order],
        np.concatenate(lengths),
    )


def scores(
    pieces: Sequence[Postings], masks: Sequence[Mask], words: Iterable[str]
) -> list[NDArray[np.float64]]:
    """BM25 of each row of each piece; 0 for those that hold no word or that a mask leaves out."""
    terms = np.fromiter(_hashes(words), np.int64)
    found = [piece.of(terms) for piece in pieces]
    number = sum(piece.filled for piece in pieces)
    mean = sum(piece.total for piece in pieces) / max(1, number)
    held = np.zeros(len(terms))
    for cuts in found:
        held += [cut.stop - cut.start for cut in cuts]
    weights = np.log1p((number - held + 0.5) / (held + 0.5))
    every: list[NDArray[np.float64]] = []
    for piece, mask, cuts in zip(pieces, masks, found, strict=True):
        rows = _cut(piece.rows, cuts)
        weight = np.repeat(weights, [cut.stop - cut.start for cut in cuts])
        kept = mask[rows]
        rows, weight = rows[kept], weight[kept]
        counts = _cut(piece.counts, cuts)[kept].astype(np.float64)
        norm: NDArray[np.float64] = _K1 * (1 - _B + _B * piece.lengths[rows] / mean)
        shares: NDArray[np.float64] = weight * (_K1 + 1) * counts / (counts + norm)
        sums = np.bincount(rows, shares, len(piece.lengths))
        every.append(sums.astype(np.float64, copy=False))
    return every


def _cut(values: NDArray[np.generic], cuts: Sequence[slice]) -> NDArray[np.generic]:
    return np.concatenate([values[cut] for cut in cuts]) if cuts else values[:0]


def _taken_apart(texts: pa.Array) -> Postings:
    import pyarrow.compute as pc  # noqa: PLC0415

    texts = pc.utf8_trim_whitespace(texts)
    lists = pc.utf8_split_whitespace(pc.if_else(pc.equal(texts, ""), None, texts))
    words = lists.flatten().dictionary_encode()
    terms, numbers = np.unique(
        np.fromiter(_hashes(words.dictionary.to_pylist()), np.int64), return_inverse=True
    )
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int32)
    rows = np.repeat(np.arange(len(texts)), lengths)
    # One sort of both brings the postings in order and equal ones together.
    pairs = numbers[words.indices.to_numpy()] * len(texts) + rows
    pairs, counts = np.unique(pairs, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(terms) + 1) * len(texts))
    return Postings(
        terms,
        starts,
        (pairs % max(1, len(texts))).astype(np.int32),
        np.minimum(counts, 0xFFFF).astype(np.uint16),
        lengths,
    )


def _hashes(words: Iterable[str]) -> Iterable[int]:
    stemmer = Stemmer.Stemmer("english", 0)
    return (hash(_plain(stemmer.stemWord(word.lower()))) for word in words)


def _plain(word: str) -> str:
    """Without accents, and with `ss` for `ß`."""
    if not _ACCENTED.search(word):
        return word
    letters = unicodedata.normalize("NFD", word)
    return "".join(each for each in letters if not unicodedata.combining(each)).translate(_LETTERS)
