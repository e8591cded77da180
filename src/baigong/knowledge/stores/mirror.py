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

from baigong.knowledge.stores.parts import Part, Within, parts_of, together, within
from baigong.knowledge.stores.port import Scope

if TYPE_CHECKING:
    import pyarrow as pa

BUDGET = 512 << 20  # bytes of all mirrors of a process: 160,000 chunks of 256 numbers with texts
_MISSED = 10  # searches in a version before it is read: a command that asks once need not
_REST = 20  # times what reading took, until it is read again
_TOO_LARGE_S = 600.0  # until it is looked again whether it fits


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


class _State(NamedTuple):
    version: int
    parts: Sequence[Part]

    def after(self, version: int, documents: Collection[int], rows: pa.Table | None) -> _State:
        """What the next version holds. Parts of like size become one, so that there are few."""
        gone = np.array(list(documents), np.int64)
        parts = [part.without(gone) for part in self.parts] if documents else list(self.parts)
        parts += parts_of(rows)
        while len(parts) > 1 and 2 * len(parts[-1].alive) >= len(parts[-2].alive):
            parts[-2:] = [together(parts[-2], parts[-1])]
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

    def within(self, version: int, scope: Scope) -> Within | None:
        """What may be found of that version; None where the mirror does not show it."""
        state = self._state
        if state is None or state.version != version:
            self._miss()
            state = self._state
            if state is None or state.version != version:
                return None
        self._mirrors.note(self)
        return within(state.parts, scope)

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
                state = _State(found[0], parts_of(found[1]))
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
