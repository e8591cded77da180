"""Reading xorbs: chunks of up to 128 KiB behind one another, each with a header, most compressed.

What is read comes from anybody, so every length is held against its limit before it is believed.
"""

from __future__ import annotations

from typing import Any

import lz4.frame

from baigong.errors import InvalidInput
from baigong.store.writing import Piece

MOST_CHUNKS = 8 << 10
MOST_BYTES = 64 << 20  # of its chunks, unpacked
_MOST_CHUNK = 128 << 10
_HEADER = 8
_FRAME = 1 << 10  # bytes by which a chunk that cannot be compressed may grow
_FOOTER = b"XETBLOB"  # before the list of chunks that older clients end a xorb with
MOST_PACKED = MOST_BYTES + MOST_CHUNKS * (_HEADER + 64) + (1 << 20)  # with headers and footer

_RAW, _LZ4, _GROUPED_LZ4 = range(3)


class Unpacking:
    """Turns a xorb, which comes in pieces, into the bytes of its chunks behind one another.

    Attributes:
        sizes: of the chunks so far, in bytes.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._rest = bytearray()
        self._size = 0
        self._is_over = False

    def feed(self, piece: bytes) -> list[Piece]:
        """The chunks that end in this piece; they share its memory.

        Raises:
            InvalidInput: it is not a xorb, or larger than one may be.
        """
        plain: list[Piece] = []
        data = memoryview(piece)
        while data and not self._is_over:
            if self._rest:
                # The rest of the chunk that the last piece ended in, or of its header.
                missing = self._missing(self._rest)
                self._rest += data[:missing]
                data = data[missing:]
                if not self._missing(self._rest):
                    rest, self._rest = self._rest, bytearray()
                    self._take(memoryview(rest), plain)
            elif self._missing(data) > 0:
                self._rest += data
                break
            else:
                data = data[self._take(data, plain) :]
        return plain

    def finish(self) -> None:
        """
        Raises:
            InvalidInput: it ended in the middle of a chunk, or has none.
        """
        if self._rest or not self.sizes:
            raise _broken("it ends in the middle of a chunk" if self._rest else "it has no chunks")

    def _missing(self, data: Piece) -> int:
        """Bytes that the chunk needs after these, as far as they tell."""
        if len(data) < _HEADER:
            return _HEADER - len(data)
        if data[: len(_FOOTER)] == _FOOTER:
            return 0
        packed, _, _ = _header(data)
        return max(0, _HEADER + packed - len(data))

    def _take(self, data: memoryview, plain: list[Piece]) -> int:
        """Add the chunk that begins here; its bytes in the xorb."""
        if data[: len(_FOOTER)] == _FOOTER:
            self._is_over = True
            return len(data)
        packed, scheme, size = _header(data)
        plain.append(_unpack(data[_HEADER : _HEADER + packed], scheme, size))
        self._add(size)
        return _HEADER + packed

    def _add(self, size: int) -> None:
        self.sizes.append(size)
        self._size += size
        if len(self.sizes) > MOST_CHUNKS or self._size > MOST_BYTES:
            raise _broken(f"it holds more than {MOST_CHUNKS} chunks or {MOST_BYTES} bytes")


def _header(data: Piece) -> tuple[int, int, int]:
    """Bytes in the xorb, how they are packed, bytes of the chunk."""
    packed = int.from_bytes(data[1:4], "little")
    size = int.from_bytes(data[5:8], "little")
    if data[0] != 0:
        raise _broken(f"a chunk has version {data[0]}, only 0 is known")
    if not 0 < size <= _MOST_CHUNK or not 0 < packed <= size + _FRAME:
        raise _broken(f"a chunk of {size} bytes takes {packed}; at most {_MOST_CHUNK} may be")
    return packed, data[4], size


def _unpack(data: memoryview, scheme: int, size: int) -> Piece:
    if scheme == _RAW:
        plain: Piece = data
    elif scheme == _LZ4:
        plain = _decompress(data, size)
    elif scheme == _GROUPED_LZ4:
        plain = _ungroup(_decompress(data, size))
    else:
        raise _broken(f"a chunk is packed by scheme {scheme}; 0, 1 and 2 are known")
    if len(plain) != size:
        raise _broken(f"a chunk has {len(plain)} bytes instead of {size}")
    return plain


def _decompress(data: memoryview, size: int) -> bytes:
    """At most one byte more than there should be: a frame may hold any number."""
    frame: Any = lz4.frame.LZ4FrameDecompressor()
    try:
        plain: bytes = frame.decompress(data, max_length=size + 1)
    except RuntimeError as error:
        raise _broken(f"a chunk is no LZ4 frame: {error}") from error
    if not frame.eof:
        raise _broken(f"a chunk has other than the {size} bytes of its header")
    return plain


def _ungroup(data: bytes) -> bytearray:
    """First every fourth byte, then those after them, and so on: the bytes in their order."""
    plain, at = bytearray(len(data)), 0
    for place in range(4):
        stop = at + len(range(place, len(data), 4))
        plain[place::4] = data[at:stop]
        at = stop
    return plain


def _broken(why: str) -> InvalidInput:
    return InvalidInput(f"This is not a xorb: {why}.", hint="Upload the file again.", param="xorb")
