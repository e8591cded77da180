"""Which of many short texts hold a word: exact, anywhere in the text, in microseconds.

Texts come in order and are never taken out. The last few are looked through one by one; those before
lie in blocks, whose positions are sorted by the three bytes that begin there. Sealing a block of the
largest size takes about a quarter of a second, and a position eight bytes with its text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 256  # texts of a block
_MERGED = 4  # blocks become one
_LARGEST = _MERGED**3 * _SMALLEST
_REMEMBERED = 128  # words that were asked for since a text was added
_END = b"\n"


class Substrings:
    """Texts by their number: 0 is the first that was added."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._last: list[bytes] = []
        self._found: dict[str, NDArray[np.intp]] = {}

    def add(self, text: str) -> None:
        """The next text. White space in it is a place where no word goes on."""
        self._found.clear()
        self._last.append(_bytes(" ".join(text.split())))
        if len(self._last) == _SMALLEST:
            self._seal()

    def find(self, word: str) -> NDArray[np.intp]:
        """Numbers of the texts that hold the word, which has no white space. Some may repeat."""
        if word not in self._found:
            if len(self._found) == _REMEMBERED:
                self._found.clear()
            self._found[word] = self._look_for(_Word(_bytes(word)))
        return self._found[word]

    def _look_for(self, word: _Word) -> NDArray[np.intp]:
        first, found = 0, []
        for block in self._blocks:
            found.append(block.find(word) + first)
            first += block.count
        last = [first + n for n, text in enumerate(self._last) if word.text in text]
        return np.concatenate([*found, np.array(last, np.intp)])

    def _seal(self) -> None:
        """Make a block of the last texts, and one of several where they are equally small."""
        self._blocks.append(_Block(_END.join(self._last) + _END))
        self._last = []
        while len(self._blocks) >= _MERGED:
            some = self._blocks[-_MERGED:]
            if some[0].count != some[-1].count or some[0].count == _LARGEST:
                return
            self._blocks[-_MERGED:] = [_Block(b"".join(block.text for block in some))]


class _Word:
    """What is looked for, with the codes of every three bytes of it; of fewer, a range of codes."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.bytes = np.frombuffer(text, np.uint8)
        self.places = np.arange(len(text))
        parts = [text[at : at + 3] for at in range(max(1, len(text) - 2))]
        self.low = np.array([int.from_bytes(p.ljust(3, b"\0"), "big") for p in parts], np.uint32)
        self.high = np.array([int.from_bytes(p.ljust(3, b"\xff"), "big") for p in parts], np.uint32)


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

    def find(self, word: _Word) -> NDArray[np.intp]:
        """Rows that hold it."""
        starts = self._starts[np.searchsorted(self._codes, word.low)]
        stops = self._starts[np.searchsorted(self._codes, word.high, side="right")]
        rarest = np.argmin(stops - starts)
        at = self._order[starts[rarest] : stops[rarest]].astype(np.intp) - rarest
        at = at[(at >= 0) & (at <= len(self._bytes) - len(word.text))]
        is_here = (self._bytes[at[:, None] + word.places] == word.bytes).all(axis=1)
        return np.asarray(np.searchsorted(self._ends, at[is_here]), np.intp)


def _bytes(text: str) -> bytes:
    return text.lower().encode("utf-8", "surrogatepass")
