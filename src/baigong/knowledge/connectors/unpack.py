"""gzip from strangers: unpacked piece by piece, so that a small file cannot fill the memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_GZIP = 31  # zlib's way to say: the largest window, and gzip's own header


class Torn(Exception):
    """What came is broken or cut off; the message says how."""


def unpack(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """What gzip packed, at most `most` bytes of it.

    Raises:
        Torn: it is not gzip, or ends too early.
    """
    packed = zlib.decompressobj(_GZIP)
    try:
        for piece in pieces:
            rest = piece
            while rest and most > 0:
                if packed.eof:  # gzip files may follow each other
                    packed = zlib.decompressobj(_GZIP)
                data = packed.decompress(rest, most)
                most -= len(data)
                yield data
                rest = packed.unused_data if packed.eof else packed.unconsumed_tail
            if most <= 0:
                return
    except zlib.error as error:
        raise Torn("it is packed wrongly") from error
    if not packed.eof:
        raise Torn("it ends too early")
