"""Rows of a table in memory, in one piece that does not change, and what searches find among them.

Most questions come with one of a few scopes. So a part keeps which of its rows pass each, and of those
that are asked again the vectors, side by side: to gather them takes longer than to compare them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.stores.passing import Mask, passing
from baigong.knowledge.stores.port import Scope
from baigong.knowledge.stores.postings import Postings, joined, postings_of, scores

if TYPE_CHECKING:
    import pyarrow as pa

_COMPARED = 60_000  # vectors, 5 ms; where more pass, an index is as quick
_AT_ONCE = 512  # vectors that are gathered together, few enough for the processor's cache
_SCOPES = 32  # of which a part keeps which rows pass, a byte for each row
_GATHERED = 4  # a part keeps of vectors side by side at most one for so many that it has
NOT_MIRRORED = {"batch"}  # columns that only writing needs

Floats = NDArray[np.float32]
Places = NDArray[np.intp]
Found = tuple[list[bytes], list[float]]  # `shown` and scores, best first


class _Passed:
    """The rows of a part that a scope leaves whatever the time is."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.asked = 0
        self.gathered: tuple[Places, Floats] | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """Rows in one piece, which of them are there yet, their vectors (rows, size) and their terms."""

    rows: pa.Table
    vectors: Floats
    postings: Postings
    alive: Mask
    _passed: dict[bytes, _Passed] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        vectors = self.vectors.nbytes + self.vectors.nbytes // _GATHERED
        return int(self.rows.nbytes) + vectors + self.postings.nbytes

    def without(self, documents: NDArray[np.int64]) -> Part:
        gone = np.isin(self.rows["document"].chunk(0).to_numpy(), documents)
        return replace(self, alive=self.alive & ~gone) if gone.any() else self

    def passed(self, scope: Scope) -> _Passed:
        """Those that pass a scope without `now`."""
        key = msgspec.msgpack.encode(scope)  # where true is not 1, as it is in a comparison
        found = self._passed.get(key)
        if found is None:
            if len(self._passed) >= _SCOPES:
                self._passed.clear()
            found = self._passed[key] = _Passed(passing(scope, self.rows))
        return found

    def cosines(self, passed: _Passed, mask: Mask, unit: Floats) -> tuple[Places, Floats]:
        """The places of the mask, a part of those that passed, and their cosines."""
        gathered = passed.gathered or self._gather(passed)
        if gathered is None:
            places = np.flatnonzero(mask)
            return places, _cosines(self.vectors, places, unit)
        places, vectors = gathered
        cosines: Floats = np.vecdot(vectors, unit)
        left = mask[places]
        return (places, cosines) if left.all() else (places[left], cosines[left])

    def _gather(self, passed: _Passed) -> tuple[Places, Floats] | None:
        """Those vectors, where they are asked for again and there is room; older ones have to go."""
        passed.asked += 1
        if passed.asked == 1:
            return None
        places = np.flatnonzero(passed.mask)
        room = len(self.vectors) // _GATHERED - len(places)
        if room < 0:
            return None
        for each in reversed(list(self._passed.values())):
            room -= 0 if each.gathered is None else len(each.gathered[0])
            if room < 0:
                each.gathered = None
        passed.gathered = places, self.vectors[places]
        return passed.gathered


class Within(NamedTuple):
    """The rows of some parts that a search may find: a mask for each part."""

    parts: Sequence[Part]
    passed: Sequence[_Passed]
    masks: Sequence[Mask]

    def words(self, terms: Sequence[str], limit: int) -> Found:
        """The best by BM25."""
        every = scores([part.postings for part in self.parts], self.masks, terms)
        places = [np.flatnonzero(found > 0) for found in every]
        held = [found[at] for found, at in zip(every, places, strict=True)]
        return _first(self.parts, zip(places, held, strict=True), limit)

    def near(self, vector: Floats, limit: int) -> Found | None:
        """The nearest; None where an index is quicker."""
        if sum(map(np.count_nonzero, self.masks)) > _COMPARED:
            return None
        unit = vector / np.linalg.norm(vector)
        each = zip(self.parts, self.passed, self.masks, strict=True)
        cosines = [part.cosines(passed, mask, unit) for part, passed, mask in each]
        return _first(self.parts, cosines, limit)


def within(parts: Sequence[Part], scope: Scope) -> Within:
    lasting, now = msgspec.structs.replace(scope, now=None), Scope(now=scope.now)
    passed = [part.passed(lasting) for part in parts]
    masks = [part.alive & each.mask for part, each in zip(parts, passed, strict=True)]
    if scope.now is not None:
        masks = [mask & passing(now, part.rows) for mask, part in zip(masks, parts, strict=True)]
    return Within(parts, passed, masks)


def parts_of(rows: pa.Table | None) -> list[Part]:
    """One part, or none where there are no rows."""
    if rows is None or not len(rows):
        return []
    postings = postings_of(rows["terms"])
    rows = rows.drop_columns(["terms"]).combine_chunks()
    vectors = np.zeros((len(rows), 0), np.float32)
    if "vector" in rows.column_names:
        vectors = rows["vector"].chunk(0).flatten().to_numpy().reshape(len(rows), -1)
    kept = rows.select([n for n in rows.column_names if n not in {*NOT_MIRRORED, "vector"}])
    return [Part(kept, vectors, postings, np.ones(len(rows), bool))]


def together(one: Part, other: Part) -> Part:
    import pyarrow as pa  # noqa: PLC0415

    both = (one, other)
    tables = [part.rows.filter(pa.array(part.alive)) for part in both]
    rows = pa.concat_tables(tables, promote_options="default").combine_chunks()
    vectors = np.concatenate([part.vectors[part.alive] for part in both])
    postings = joined([(part.postings, part.alive) for part in both])
    return Part(rows, vectors, postings, np.ones(len(rows), bool))


def _first(
    parts: Sequence[Part], scored: Iterable[tuple[Places, NDArray[np.floating]]], limit: int
) -> Found:
    """The best of these places of the parts, by the scores that they have."""
    found: list[tuple[float, bytes]] = []
    for part, (at, each) in zip(parts, scored, strict=True):
        best = np.argpartition(each, -limit)[-limit:] if len(at) > limit else slice(None)
        shown = part.rows["shown"].chunk(0).take(at[best]).to_pylist()
        found += zip(each[best].tolist(), shown, strict=True)
    found.sort(key=lambda one: -one[0])
    return [shown for _, shown in found[:limit]], [score for score, _ in found[:limit]]


def _cosines(vectors: Floats, places: Places, vector: Floats) -> Floats:
    """With those of `places`. One at a time: threads of a BLAS get in each other's way."""
    if 2 * len(places) > len(vectors):
        every: Floats = np.vecdot(vectors, vector)
        return every[places]
    found = np.empty(len(places), np.float32)
    room = np.empty((min(_AT_ONCE, len(places)), len(vector)), np.float32)
    for at in range(0, len(places), _AT_ONCE):
        some = places[at : at + _AT_ONCE]
        gathered = room[: len(some)]
        np.take(vectors, some, axis=0, out=gathered, mode="clip")
        np.vecdot(gathered, vector, out=found[at : at + _AT_ONCE])
    return found
