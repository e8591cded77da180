"""What the cache still holds of sequences that have ended, found by what they begin with."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence as Many
from dataclasses import dataclass
from hashlib import blake2b

from baigong.inference.engine.cache import Extent
from baigong.inference.engine.lora import LoraAdapter

BLOCK = 32  # tokens; prefixes are compared and copied in whole blocks


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An extent whose first tokens are known by the marks of their blocks."""

    extent: Extent
    adapter: LoraAdapter | None
    marks: Many[bytes]


class Prefixes:
    """Kept extents, the longest unused one first to go.

    A block's mark is a digest of its adapter, its tokens and all before it: equal marks mean equal
    keys and values.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Kept, None] = OrderedDict()
        self._by_mark: dict[bytes, Kept] = {}
        self.num_tokens = 0  # room that the kept extents take

    def find(self, marks: Many[bytes]) -> tuple[Kept, int] | None:
        """The kept extent that begins with the most of these blocks, and how many tokens those are."""
        for blocks in range(len(marks), 0, -1):
            kept = self._by_mark.get(marks[blocks - 1])
            if kept is not None:
                self._kept.move_to_end(kept)
                return kept, blocks * BLOCK
        return None

    def keep(self, kept: Kept) -> Extent | None:
        """Remember an extent; returns one that has become needless, if any: maybe this very one."""
        if not kept.marks:
            return kept.extent
        longer = self._by_mark.get(kept.marks[-1])
        if longer is not None:
            self._kept.move_to_end(longer)
            return kept.extent
        shorter = self._by_mark.get(kept.marks[0])
        covered = shorter if shorter and shorter.marks[-1] in kept.marks else None
        if covered is not None:
            self._forget(covered)
        self._kept[kept] = None
        self.num_tokens += kept.extent.capacity
        for mark in kept.marks:
            self._by_mark[mark] = kept
        return covered.extent if covered else None

    def drop_oldest(self) -> Extent | None:
        """Forget what has been unused the longest, and hand its room over."""
        if not self._kept:
            return None
        kept = next(iter(self._kept))
        self._forget(kept)
        return kept.extent

    def drop_adapter(self, adapter: LoraAdapter) -> list[Extent]:
        """Forget everything that was computed with an adapter."""
        gone = [kept for kept in self._kept if kept.adapter is adapter]
        for kept in gone:
            self._forget(kept)
        return [kept.extent for kept in gone]

    def _forget(self, kept: Kept) -> None:
        del self._kept[kept]
        self.num_tokens -= kept.extent.capacity
        for mark in kept.marks:
            if self._by_mark.get(mark) is kept:
                del self._by_mark[mark]


def marks_of(adapter: LoraAdapter | None, ids: Many[int], known: Many[bytes] = ()) -> list[bytes]:
    """One mark for each whole block of `ids`; those of the first blocks may be `known` already."""
    marks = list(known[: len(ids) // BLOCK])
    # An adapter in use, or kept, is alive, so its address is its own.
    root = b"" if adapter is None else id(adapter).to_bytes(8, "little")
    for start in range(len(marks) * BLOCK, len(ids) - BLOCK + 1, BLOCK):
        block = array("q", ids[start : start + BLOCK])
        last = marks[-1] if marks else root
        marks.append(blake2b(last + block.tobytes(), digest_size=16).digest())
    return marks
