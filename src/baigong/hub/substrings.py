"""Which of many short texts hold a word: exact, anywhere in the text, in microseconds.

Texts come in order and are never taken out. The last few are looked through one by one; those before
lie in blocks, whose positions are sorted by the three bytes that begin there. Sealing a block of the
largest size takes about a quarter of a second, and a position eight bytes with its text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1024  # texts of a block
_LARGEST = 16 * _SMALLEST
_END = b"\n"


class Substrings:
    """Texts by their number: 0 is the first that was added."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._last: list[bytes] = []

    def add(self, text: str) -> None:
        """The next text. White space in it is a place where no word goes on."""
        self._last.append(_bytes(" ".join(text.split())))
        if len(self._last) == _SMALLEST:
            self._seal()

    def find(self, word: str) -> NDArray[np.intp]:
        """Numbers of the texts that hold the word, which has no white space. Some may repeat."""
        wanted, first, found = _bytes(word), 0, []
        for block in self._blocks:
            found.append(block.find(wanted) + first)
            first += block.count
        last = [first + n for n, text in enumerate(self._last) if wanted in text]
        return np.concatenate([*found, np.array(last, np.intp)])

    def _seal(self) -> None:
        """Make a block of the last texts, and one of two where both are equally small."""
        self._blocks.append(_Block(_END.join(self._last) + _END))
        self._last = []
        while len(self._blocks) > 1:
            one, other = self._blocks[-2:]
            if one.count != other.count or one.count == _LARGEST:
                return
            self._blocks[-2:] = [_Block(one.text + other.text)]


class _Block:
    """Texts that each end with `_END`."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._bytes = np.frombuffer(text, np.uint8)
        self._ends = np.flatnonzero(self._bytes == _END[0])
        self.count = len(self._ends)
        padded = np.frombuffer(text + b"\0\0", np.uint8).astype(np.uint32)
        codes = (padded[:-2] << 16) | (padded[1:-1] << 8) | padded[2:]
        self._order = np.argsort(codes, kind="stable").astype(np.uint32)
        self._codes, starts = np.unique(codes[self._order], return_index=True)
        self._starts = np.append(starts, len(codes))

    def find(self, word: bytes) -> NDArray[np.intp]:
        """Rows that hold it."""
        start, stop, shift = min(self._ranges(word), key=lambda range: range[1] - range[0])
        at = self._order[start:stop].astype(np.intp) - shift
        at = at[(at >= 0) & (at <= len(self._bytes) - len(word))]
        for n, byte in enumerate(word):
            at = at[self._bytes[at + n] == byte]
        return np.searchsorted(self._ends, at)

    def _ranges(self, word: bytes) -> Iterator[tuple[int, int, int]]:
        """(start, stop) in the order of the positions of each three bytes, and their place."""
        for shift in range(max(1, len(word) - 2)):
            part = word[shift : shift + 3]  # a shorter word begins a range of codes
            low, high = part.ljust(3, b"\0"), part.ljust(3, b"\xff")
            first = np.searchsorted(self._codes, int.from_bytes(low, "big"))
            last = np.searchsorted(self._codes, int.from_bytes(high, "big"), side="right")
            yield int(self._starts[first]), int(self._starts[last]), shift


def _bytes(text: str) -> bytes:
    return text.lower().encode("utf-8", "surrogatepass")
