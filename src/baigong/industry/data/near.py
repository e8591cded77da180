"""Texts that are nearly the same: MinHash over pieces of three characters, for Chinese and English alike.

Texts with other numbers in them are other texts: an order, a date or an amount is what they are about.

Candidates are found by bands of their signatures (locality-sensitive hashing) and then compared
exactly, so that what is told is true; one in some thousands of near texts may be missed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baigong.evals.text import fold

ALIKE = 0.8  # of the pieces of both texts, those they share
_BANDS, _EACH = 16, 4  # texts that share 0.8 of their pieces meet in a band with p > 0.999
PATTERNED = 0.2  # of the texts, from which on near ones are how they all are
_LEAST_PIECES = 6  # of a shorter text nothing can be said
_BLOCK = 2_000_000  # pieces signed at once, to bound memory
_TRIED = 8  # texts of a band that all others there are compared with
_SURE = 0.65  # estimate from which on two texts are compared exactly; its deviation is 0.05

Ints = NDArray[np.int64]
_MARKS = re.compile(r"[\W_]+")
_NUMBER = re.compile(r"\d+")


class Near(NamedTuple):
    """Place of a text -> place of one that it nearly is: an earlier one not kept apart, or one that is.

    `is_patterned`: so many are nearly one kept apart that they must be made from patterns, and the
    search was ended.
    """

    twins: dict[int, int]
    leaks: dict[int, int]
    is_patterned: bool = False


def find_near(texts: Sequence[str], is_apart: Sequence[bool]) -> Near:
    """Near duplicates among texts, and of texts that are kept apart (for testing)."""
    pieces = [_pieces(text) for text in texts]
    judged = np.array([i for i, own in enumerate(pieces) if len(own) >= _LEAST_PIECES], np.int64)
    if len(judged) < 2:
        return Near({}, {})
    search = _Search([pieces[i] for i in judged])
    apart = np.asarray(is_apart, bool)[judged]
    most = PATTERNED * int((~apart).sum())
    twins: dict[int, int] = {}
    leaks: dict[int, int] = {}
    for group in _groups(search.signatures):
        free, kept = group[~apart[group]], group[apart[group]]
        for anchor in free[:_TRIED]:
            search.note(int(anchor), free[free > anchor], twins)
        for anchor in kept[:_TRIED]:
            search.note(int(anchor), free, leaks)
        if len(leaks) > most:
            break
    named = [{int(judged[a]): int(judged[b]) for a, b in found.items()} for found in (twins, leaks)]
    return Near(named[0], named[1], len(leaks) > most)


class _Search:
    """Texts by their pieces, and their signatures to find candidates by."""

    def __init__(self, pieces: Sequence[NDArray[np.uint64]]) -> None:
        self.pieces = pieces
        self.signatures = _signatures(pieces)
        self.sets: dict[int, frozenset[int]] = {}

    def note(self, anchor: int, others: Ints, into: dict[int, int]) -> None:
        """Put those of the others that nearly are the anchor into `into`."""
        alike = (self.signatures[others] == self.signatures[anchor]).mean(axis=1)
        for other in others[alike >= _SURE].tolist():
            if other not in into and self.is_near(anchor, other):
                into[other] = anchor

    def is_near(self, one: int, other: int) -> bool:
        mine, theirs = self.set_of(one), self.set_of(other)
        shared = len(mine & theirs)
        return shared >= ALIKE * (len(mine) + len(theirs) - shared)

    def set_of(self, place: int) -> frozenset[int]:
        if place not in self.sets:
            self.sets[place] = frozenset(self.pieces[place].tolist())
        return self.sets[place]


def _pieces(text: str) -> NDArray[np.uint64]:
    """A number for each three neighbouring characters, marks and case left out."""
    plain = _MARKS.sub(" ", fold(text)).strip()
    codes = np.frombuffer(plain.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    if len(codes) < 3:
        return np.zeros(0, np.uint64)
    numbers = np.uint64(zlib.crc32(" ".join(_NUMBER.findall(plain)).encode()))
    mixed: NDArray[np.uint64] = codes[:-2] * _ODD[0] + codes[1:-1] * _ODD[1] + codes[2:] * _ODD[2]
    mixed ^= numbers
    return mixed


_ODD = np.random.default_rng(7).integers(1, 2**63, 3, np.uint64) | np.uint64(1)


def _signatures(pieces: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint32]:
    """(texts, bands x each) least hashes of each text's pieces."""
    random = np.random.default_rng(11)
    factors = random.integers(1, 2**63, _BANDS * _EACH, np.uint64) | np.uint64(1)
    made = np.empty((len(pieces), len(factors)), np.uint32)
    start = 0
    while start < len(pieces):
        stop, size = start, 0
        while stop < len(pieces) and (size == 0 or size + len(pieces[stop]) <= _BLOCK):
            size, stop = size + len(pieces[stop]), stop + 1
        block = np.concatenate(pieces[start:stop])
        block ^= block >> np.uint64(29)
        starts = np.cumsum([0, *(len(own) for own in pieces[start : stop - 1])])
        for number, factor in enumerate(factors):
            hashed = ((block * factor) >> np.uint64(32)).astype(np.uint32)
            made[start:stop, number] = np.minimum.reduceat(hashed, starts)
        start = stop
    return made


def _groups(signatures: NDArray[np.uint32]) -> Iterator[Ints]:
    """Places of texts that agree in one band, for every band."""
    for band in range(_BANDS):
        part = np.ascontiguousarray(signatures[:, band * _EACH : (band + 1) * _EACH])
        keys = part.view(np.dtype((np.void, part.dtype.itemsize * _EACH))).ravel()
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        edges = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1], [True])))
        sizes = np.diff(edges)
        for at in np.flatnonzero(sizes > 1):
            yield order[edges[at] : edges[at + 1]]
