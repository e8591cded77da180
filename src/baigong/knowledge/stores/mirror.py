"""A table's rows in memory, as they are in one version of it: vectors one by one, and full text.

An index looks at few vectors, and pays for it with plans, threads and files: 10 ms of processor time
for a question with a filter, where to compare the 10,000 of 100,000 vectors that pass takes 2 and
misses none; and 4 ms for its words, which take 1 here. A mirror answers for the version that it
shows and for no other, so what is gone is never found in it. What this process writes it follows at
once; after another process wrote, or after tending, it is read anew beside the searches, which ask
the index meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.stores.passing import Mask, passing
from baigong.knowledge.stores.port import Scope
from baigong.knowledge.stores.postings import Postings, joined, postings_of, scores

if TYPE_CHECKING:
    import pyarrow as pa

BUDGET = 512 << 20  # bytes of all mirrors of a process: 170,000 chunks of 256 numbers with texts
_COMPARED = 60_000  # vectors, 5 ms; where more pass, an index is as quick
_AT_ONCE = 512  # vectors that are gathered together, few enough for the processor's cache
_MISSED = 10  # searches in a version before it is read: a command that asks once need not
_REST = 20  # times what reading took, until it is read again
_TOO_LARGE_S = 600.0  # until it is looked again whether it fits
NOT_MIRRORED = {"batch"}  # columns that only writing needs

Floats = NDArray[np.float32]
Found = tuple[list[bytes], list[float]]  # `shown` and scores, best first


class Mirrors:
    """All mirrors of a process, within `budget` bytes: who was asked last stays."""

    def __init__(self, budget: int = BUDGET, *, beside: bool = True) -> None:
        """`beside`: searches go on while a mirror is read. Else the first one reads it."""
        self.budget = budget
        self.beside = beside
        self._sizes: OrderedDict[Mirror, int] = OrderedDict()
        self._mutex = threading.Lock()

    def note(self, mirror: Mirror, size: int | None = None) -> None:
        """It was asked, or takes `size` bytes now; others may have to go."""
        with self._mutex:
            if size is not None:
                self._sizes[mirror] = size
            if mirror in self._sizes:
                self._sizes.move_to_end(mirror)
            leaving = []
            while sum(self._sizes.values()) > self.budget:
                leaving.append(self._sizes.popitem(last=False)[0])
        for each in leaving:
            each.forget()


class _Part(NamedTuple):
    """Rows in one piece, which of them are there yet, their vectors (rows, size) and their terms."""

    rows: pa.Table
    vectors: Floats
    postings: Postings
    alive: Mask

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes) + self.vectors.nbytes + self.postings.nbytes

    def without(self, documents: NDArray[np.int64]) -> _Part:
        gone = np.isin(self.rows["document"].chunk(0).to_numpy(), documents)
        return self._replace(alive=self.alive & ~gone) if gone.any() else self


class _State(NamedTuple):
    version: int
    parts: Sequence[_Part]

    def after(self, version: int, documents: Collection[int], rows: pa.Table | None) -> _State:
        """What the next version holds. Parts of like size become one, so that there are few."""
        gone = np.array(list(documents), np.int64)
        parts = [part.without(gone) for part in self.parts] if documents else list(self.parts)
        parts += _parts(rows)
        while len(parts) > 1 and 2 * len(parts[-1].alive) >= len(parts[-2].alive):
            parts[-2:] = [_joined(parts[-2], parts[-1])]
        return _State(version, parts)

    @property
    def size(self) -> int:
        return sum(part.nbytes for part in self.parts)


class Mirror:
    """The mirror of one table, while there is room for it. Threads may share it."""

    def __init__(
        self, mirrors: Mirrors, read: Callable[[int], tuple[int, pa.Table] | None]
    ) -> None:
        """`read` gives a version and all its rows, or None where they take more bytes than that."""
        self._mirrors = mirrors
        self._read = read
        self._state: _State | None = None
        self._mutex = threading.Lock()
        self._reading = False
        self._written: list[tuple[int, Collection[int], pa.Table | None]] = []
        self._missed = 0
        self._rest_until = -math.inf
        self._closed = False

    @property
    def is_read(self) -> bool:
        return self._state is not None

    def near(self, version: int, vector: Floats, limit: int, scope: Scope) -> Found | None:
        """The nearest in that version; None where the mirror does not show it, or an index is quicker."""
        state = self._at(version)
        if state is None:
            return None
        masks = _masks(state, scope)
        if sum(map(np.count_nonzero, masks)) > _COMPARED:
            return None
        return _nearest(state.parts, masks, vector / np.linalg.norm(vector), limit)

    def words(self, version: int, terms: Sequence[str], limit: int, scope: Scope) -> Found | None:
        """The best by BM25 in that version; None where the mirror does not show it."""
        state = self._at(version)
        return None if state is None else _best(state.parts, _masks(state, scope), terms, limit)

    def _at(self, version: int) -> _State | None:
        state = self._state
        if state is None or state.version != version:
            self._miss()
            state = self._state
            if state is None or state.version != version:
                return None
        self._mirrors.note(self)
        return state

    def follow(self, version: int, documents: Collection[int], rows: pa.Table | None) -> None:
        """This process made that version: these documents' rows went, `rows` came."""
        with self._mutex:
            if self._reading:
                self._written.append((version, documents, rows))
            state = self._state
            if state is None or state.version != version - 1:
                return
            self._state = state = state.after(version, documents, rows)
        self._mirrors.note(self, state.size)

    def forget(self) -> None:
        self._state = None

    def close(self) -> None:
        """It is asked no more."""
        self._closed = True
        self._mirrors.note(self, 0)
        self.forget()

    def _miss(self) -> None:
        with self._mutex:
            self._missed += 1
            if self._mirrors.beside and (
                self._missed < _MISSED or self._reading or time.monotonic() < self._rest_until
            ):
                return
            if self._closed:
                return
            self._reading, self._written = True, []
        if self._mirrors.beside:
            threading.Thread(target=self._renew, name="mirror", daemon=True).start()
        else:
            self._renew()

    def _renew(self) -> None:
        began = time.monotonic()
        rest, state = _TOO_LARGE_S, None
        self.forget()  # not two of them in memory
        try:
            found = self._read(self._mirrors.budget)
            if found is not None:
                state = _State(found[0], _parts(found[1]))
                rest = _REST * (time.monotonic() - began)
        finally:
            with self._mutex:
                for version, documents, rows in self._written:
                    if state is not None and version == state.version + 1:
                        state = state.after(version, documents, rows)
                self._state = None if self._closed else state
                self._reading, self._missed, self._written = False, 0, []
                self._rest_until = time.monotonic() + rest
        if self._state is not None:
            self._mirrors.note(self, self._state.size)


def _parts(rows: pa.Table | None) -> list[_Part]:
    """One part, or none where there are no rows."""
    if rows is None or not len(rows):
        return []
    postings = postings_of(rows["terms"])
    rows = rows.drop_columns(["terms"]).combine_chunks()
    vectors = np.zeros((len(rows), 0), np.float32)
    if "vector" in rows.column_names:
        vectors = rows["vector"].chunk(0).flatten().to_numpy().reshape(len(rows), -1)
    kept = rows.select([n for n in rows.column_names if n not in {*NOT_MIRRORED, "vector"}])
    return [_Part(kept, vectors, postings, np.ones(len(rows), bool))]


def _joined(one: _Part, other: _Part) -> _Part:
    import pyarrow as pa  # noqa: PLC0415

    both = (one, other)
    tables = [part.rows.filter(pa.array(part.alive)) for part in both]
    rows = pa.concat_tables(tables, promote_options="default").combine_chunks()
    vectors = np.concatenate([part.vectors[part.alive] for part in both])
    postings = joined([(part.postings, part.alive) for part in both])
    return _Part(rows, vectors, postings, np.ones(len(rows), bool))


def _masks(state: _State, scope: Scope) -> list[Mask]:
    return [part.alive & passing(scope, part.rows) for part in state.parts]


def _best(parts: Sequence[_Part], masks: Sequence[Mask], terms: Sequence[str], limit: int) -> Found:
    every = scores([part.postings for part in parts], masks, terms)
    places = [np.flatnonzero(found) for found in every]
    return _first(
        parts, places, [found[at] for found, at in zip(every, places, strict=True)], limit
    )


def _nearest(parts: Sequence[_Part], masks: Sequence[Mask], vector: Floats, limit: int) -> Found:
    places = [np.flatnonzero(mask) for mask in masks]
    cosines = [_cosines(part.vectors, at, vector) for part, at in zip(parts, places, strict=True)]
    return _first(parts, places, cosines, limit)


def _first(
    parts: Sequence[_Part],
    places: Sequence[NDArray[np.intp]],
    scores: Sequence[NDArray[np.floating]],
    limit: int,
) -> Found:
    """The best of these places of the parts, by the scores that they have."""
    found: list[tuple[float, bytes]] = []
    for part, at, each in zip(parts, places, scores, strict=True):
        best = np.argpartition(each, -limit)[-limit:] if len(at) > limit else slice(None)
        shown = part.rows["shown"].chunk(0).take(at[best]).to_pylist()
        found += zip(each[best].tolist(), shown, strict=True)
    found.sort(key=lambda one: -one[0])
    return [shown for _, shown in found[:limit]], [score for score, _ in found[:limit]]


def _cosines(vectors: Floats, places: NDArray[np.intp], vector: Floats) -> Floats:
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
