"""Where the bytes of a xorb lie: aside, as they came, or in the files that were made of it."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from baigong.store.blobs import Blobs


class Span(NamedTuple):
    """From the chunk `first` on, the bytes of what `store` keeps as `name`, from `start` on."""

    first: int
    store: Blobs
    name: str
    start: int


class Piece(NamedTuple):
    """Bytes start:stop of what `store` keeps as `name`."""

    store: Blobs
    name: str
    start: int
    stop: int


class Range(NamedTuple):
    """From the chunk `first` on, a xorb's bytes are those of `digest` from `start` on."""

    first: int
    digest: str
    start: int


class Use(NamedTuple):
    """Chunks up to `stop` of a xorb are in the blob `digest`, from its byte `start` on."""

    stop: int
    digest: str
    start: int


class Place:
    """One xorb; `spans` by their first chunk, the first of them 0.

    `aside` is what it is called there as long as it waits.
    """

    def __init__(self, sizes: Sequence[int], spans: Sequence[Span], *, aside: str) -> None:
        self.count = len(sizes)
        self.aside = aside
        self._ends = [0, *accumulate(sizes)]
        self._spans = spans

    def size(self, first: int, stop: int) -> int:
        """Bytes of the chunks first:stop."""
        return self._ends[stop] - self._ends[first]

    def pieces(self, first: int, stop: int) -> Iterator[Piece]:
        """Where those chunks are, in their order."""
        at = bisect_right(self._spans, first, key=lambda span: span.first) - 1
        while first < stop:
            span = self._spans[at]
            is_last = at + 1 == len(self._spans)
            end = stop if is_last else min(stop, self._spans[at + 1].first)
            start = span.start + self.size(span.first, first)
            yield Piece(span.store, span.name, start, start + self.size(first, end))
            first, at = end, at + 1

    def covered(self, uses: Mapping[int, Use]) -> list[Range]:
        """Where all chunks are, or nothing where some are in no file. `uses` are by their first
        chunk."""
        spans: list[Range] = []
        at, best = 0, None
        starts = iter(sorted(uses))
        following = next(starts, None)
        while at < self.count:
            while following is not None and following <= at:
                if best is None or uses[following].stop > uses[best].stop:
                    best = following
                following = next(starts, None)
            if best is None or uses[best].stop <= at:
                return []
            use = uses[best]
            spans.append(Range(at, use.digest, use.start + self.size(best, at)))
            at = use.stop
        return spans


def pack(sizes: Sequence[int]) -> bytes:
    """As the table keeps them."""
    return struct.pack(f"<{len(sizes)}I", *sizes)


def unpack(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 4}I", packed)
