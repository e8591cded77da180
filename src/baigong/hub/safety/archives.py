"""What archives hold, by their lists of members and the first bytes of each. Nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Protocol

from baigong.hub.safety.content import Content, Exhausted
from baigong.hub.safety.findings import Finding

MOST_UNPACKED = 256 << 20  # bytes; what becomes more, and a hundred times what it was, is a bomb
_MOST_TIMES = 100
_MOST_MEMBERS = 20_000  # whose names are looked at
_MOST_READ = 256  # whose first bytes are
_NESTED = 16 << 20  # bytes of an archive within an archive
_PREFIX = 8 << 20  # bytes that are looked at of what is compressed as a whole
_PIECE = 1 << 16
_HEAD = 1 << 14  # bytes of a member

Look = Callable[[Content, str], list[Finding]]  # a member's content and path

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    NotImplementedError,  # a compression that this Python does not know
    RuntimeError,  # a password
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)
_OPAQUE = Finding("opaque", "is an archive that cannot be looked into.")
_BOMB = Finding("bomb", "unpacks to more than 256 MiB, and more than a hundred times its size.")


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_COMPRESSED: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(memlimit=1 << 27),
    b"\x5d\0\0": lambda: lzma.LZMADecompressor(memlimit=1 << 27),
    **{bytes([0x78, level]): zlib.decompressobj for level in (0x01, 0x5E, 0x9C, 0xDA)},
}


def is_zip(head: bytes) -> bool:
    return head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}


def ends_as_zip(content: Content) -> bool:
    """Whether it is a zip archive behind something else."""
    return zipfile.is_zipfile(content.open())


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def is_compressed(head: bytes) -> bool:
    return any(head.startswith(mark) for mark in _COMPRESSED)


def look_zip(content: Content, look: Look) -> Iterator[Finding]:
    """Findings in a zip archive and its members."""
    try:
        with zipfile.ZipFile(content.open()) as archive:
            members = archive.infolist()
            if _is_bomb(content, sum(member.file_size for member in members)):
                yield _BOMB
            elif len(members) > _MOST_MEMBERS:
                yield _OPAQUE
            else:
                yield from _in_zip(archive, members, content, look)
    except _BROKEN:
        yield _OPAQUE


def _in_zip(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], content: Content, look: Look
) -> Iterator[Finding]:
    for member in members:
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        yield from _places(member.filename, "a link" if is_link else "")
    files = [member for member in members if not member.is_dir()]
    for at, member in enumerate(files):
        inner = Content.of(b"", 0, content.budget)
        if at < _MOST_READ:
            with archive.open(member) as file:
                inner = _start(file, member.file_size, content)
        yield from _named(member.filename, look(inner, member.filename))


def look_tar(content: Content, look: Look) -> Iterator[Finding]:
    """The same of a tar archive, up to where it was cut off."""
    members = 0
    try:
        with tarfile.open(fileobj=content.open(), mode="r:") as archive:
            for member in archive:
                members += 1
                if members > _MOST_MEMBERS:
                    return
                odd = "" if member.isfile() or member.isdir() else "a link or a device"
                yield from _places(member.name, odd)
                if not member.isfile():
                    continue
                inner = Content.of(b"", 0, content.budget)
                if members <= _MOST_READ and (file := archive.extractfile(member)) is not None:
                    inner = _start(file, member.size, content)
                yield from _named(member.name, look(inner, member.name))
    except _BROKEN:
        if not members:
            yield _OPAQUE


def look_compressed(content: Content, path: str, look: Look) -> Iterator[Finding]:
    """Findings in the start of what is compressed as a whole."""
    mark = next(mark for mark in _COMPRESSED if content.head.startswith(mark))
    decompressor, start = _COMPRESSED[mark](), bytearray()
    read = unpacked = 0
    try:
        # What swells like a bomb is followed until it is one.
        while read < content.size and (unpacked < _PREFIX or unpacked > _MOST_TIMES * read):
            piece = content.read(read, read + _PIECE)
            read += len(piece)
            for made in _unpacked(decompressor, piece):
                unpacked += len(made)
                start += made[: max(0, _PREFIX - len(start))]
                if unpacked > MOST_UNPACKED and unpacked > _MOST_TIMES * read:
                    yield _BOMB
                    return
            if getattr(decompressor, "eof", False):
                break
    except _BROKEN:
        if not start:
            return  # some text begins like this
    plain = PurePosixPath(path).stem or path
    yield from look(Content.of(bytes(start), len(start), content.budget), plain)


def _unpacked(decompressor: _Decompressor, piece: bytes) -> Iterator[bytes]:
    """What a piece becomes, by the megabyte."""
    while True:
        made = decompressor.decompress(piece, 1 << 20)
        yield made
        piece = getattr(decompressor, "unconsumed_tail", b"")
        if getattr(decompressor, "eof", False) or (not piece and len(made) < 1 << 20):
            return


def _is_bomb(content: Content, unpacked: int) -> bool:
    """Archives within archives add up, against what the outermost one has."""
    budget = content.budget
    budget.unpacked += unpacked
    return budget.unpacked > max(MOST_UNPACKED, _MOST_TIMES * budget.size)


def _start(file: IO[bytes], size: int, content: Content) -> Content:
    """The first bytes of a member, and all of one that may be an archive itself."""
    head = file.read(_HEAD)
    if is_zip(head) or is_tar(head):
        if size > _NESTED:
            raise Exhausted
        head += file.read(_NESTED)
    content.budget.take(len(head))
    return Content.of(head, size, content.budget)


def _places(name: str, odd: str) -> Iterator[Finding]:
    """What a member would do where somebody unpacks it carelessly."""
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":":
        yield Finding("archive", f"unpacks '{name[:200]}', which leads elsewhere.")
    elif odd:
        yield Finding("archive", f"unpacks '{name[:200]}', which is {odd}.")


def _named(name: str, found: list[Finding]) -> Iterator[Finding]:
    for one in found:
        yield Finding(one.what, f"holds '{name[:200]}', which {one.said}", one.line)
