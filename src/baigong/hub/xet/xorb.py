"""Reading xorbs: chunks of up to 128 KiB behind one another, each with a header, most compressed.

What is read comes from anybody, so every length is held against its limit before it is believed.
"""

from __future__ import annotations

from typing import Any

import lz4.frame

from baigong.errors import InvalidInput

MOST_CHUNKS = 8 << 10
MOST_BYTES = 64 << 20  # of its chunks, unpacked
_MOST_CHUNK = 128 << 10
_HEADER = 8
_FRAME = 1 << 10  # bytes by which a chunk that cannot be compressed may grow
_FOOTER = b"XETBLOB"  # before the list of chunks that older clients end a xorb with
MOST_PACKED = MOST_BYTES + MOST_CHUNKS * (_HEADER + 64) + (1 << 20)  # with headers and footer

_RAW, _LZ4, _GROUPED_LZ4 = range(3)
_Bytes = bytes | bytearray | memoryview


class Unpacking:
    """Turns a xorb, which comes in pieces, into the bytes of its chunks behind one another.

    Attributes:
        sizes: of the chunks so far, in bytes.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._rest = b""
        self._size = 0
        self._is_over = False

    def feed(self, piece: bytes) -> bytes:
        """The bytes of the chunks that end in this piece.

        Raises:
            InvalidInput: it is not a xorb, or larger than one may be.
        """
        if self._is_over:
            return b""
        data = memoryview(self._rest + piece if self._rest else piece)
        plain: list[_Bytes] = []
        at = 0
        while len(data) - at >= _HEADER:
            if data[at : at + len(_FOOTER)] == _FOOTER:
                self._is_over, at = True, len(data)
                break
            packed, scheme, size = self._header(data[at : at + _HEADER])
            stop = at + _HEADER + packed
            if stop > len(data):
                break
            plain.append(_unpack(data[at + _HEADER : stop], scheme, size))
            self._add(size)
            at = stop
        self._rest = bytes(data[at:])
        return b"".join(plain)

    def finish(self) -> None:
        """
        Raises:
            InvalidInput: it ended in the middle of a chunk, or has none.
        """
        if self._rest or not self.sizes:
            raise _broken("it ends in the middle of a chunk" if self._rest else "it has no chunks")

    def _header(self, header: memoryview) -> tuple[int, int, int]:
        """Bytes in the xorb, how they are packed, bytes of the chunk."""
        packed = int.from_bytes(header[1:4], "little")
        size = int.from_bytes(header[5:8], "little")
        if header[0] != 0:
            raise _broken(f"a chunk has version {header[0]}, only 0 is known")
        if not 0 < size <= _MOST_CHUNK or not 0 < packed <= size + _FRAME:
            raise _broken(f"a chunk of {size} bytes takes {packed}; at most {_MOST_CHUNK} may be")
        return packed, header[4], size

    def _add(self, size: int) -> None:
        self.sizes.append(size)
        self._size += size
        if len(self.sizes) > MOST_CHUNKS or self._size > MOST_BYTES:
            raise _broken(f"it holds more than {MOST_CHUNKS} chunks or {MOST_BYTES} bytes")


def _unpack(data: memoryview, scheme: int, size: int) -> _Bytes:
    if scheme == _RAW:
        plain: _Bytes = data
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
