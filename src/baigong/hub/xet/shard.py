"""Reading shards: which chunks of which xorbs are a file, one behind the other."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

from baigong.errors import InvalidInput
from baigong.hub.xet.hashes import LENGTH, text_of

MOST_BYTES = 128 << 20  # clients begin another at 64 MiB
_MAGIC = b"HFRepoMetaData\0"
_HEADER = 48
_ENTRY = 48
_BOOKEND = b"\xff" * LENGTH
_FILE = struct.Struct("<32sII8x")
_TERM = struct.Struct("<32sIIII")
_HAS_PROOF, _HAS_DIGEST = 1 << 31, 1 << 30


class Term(NamedTuple):
    """Chunks first:stop of a xorb, which have `size` bytes in all."""

    xorb: str
    first: int
    stop: int
    size: int


class File(NamedTuple):
    """A file of a shard; `sha256` is empty where the client has not counted it."""

    sha256: str
    shard: mmap.mmap | bytes
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes of the file."""
        starts = range(self.start, self.stop, _ENTRY)
        return sum(_TERM.unpack_from(self.shard, at)[2] for at in starts)

    def terms(self) -> Iterator[Term]:
        """In their order. There may be a million, so they are read one by one."""
        for at in range(self.start, self.stop, _ENTRY):
            raw, _flags, size, first, last = _TERM.unpack_from(self.shard, at)
            yield Term(text_of(raw), first, last, size)


def files_of(shard: mmap.mmap | bytes) -> Iterator[File]:
    """The files of a shard, in its order.

    Raises:
        InvalidInput: it is none, or ends too early.
    """
    if shard[: len(_MAGIC)] != _MAGIC:
        raise _broken("it does not begin as one")
    at = _HEADER
    while True:
        if at + _ENTRY > len(shard):
            raise _broken("its list of files has no end")
        raw, flags, count = _FILE.unpack_from(shard, at)
        if raw == _BOOKEND:
            return
        start = at + _ENTRY
        stop = start + count * _ENTRY
        end = stop + count * _ENTRY if flags & _HAS_PROOF else stop
        at = end + _ENTRY if flags & _HAS_DIGEST else end
        if at > len(shard):
            raise _broken("a file of it has more entries than there are")
        digest = text_of(shard[end : end + LENGTH]) if flags & _HAS_DIGEST else ""
        yield File(digest, shard, start, stop)


def _broken(why: str) -> InvalidInput:
    return InvalidInput(
        f"This is not a shard: {why}.", hint="Upload the files again.", param="shard"
    )
