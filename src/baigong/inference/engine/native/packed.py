"""Packed weights kept on disk, so that the next start maps them and several processes share them.

A file is a header and the blocks that a builder takes, in its order. It gets its name when it is
whole, and its checksum is verified before it is used; where it cannot be kept, memory serves.
"""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from zlib import crc32

import numpy as np
from typing_extensions import override

from baigong.inference.engine.native.structs import address

T = TypeVar("T")
Fill = Callable[[np.ndarray], None]

LIMIT = 32 << 30  # bytes of all files together
_ALIGNMENT = 64
_HEADER = struct.Struct("<8sQI44x")  # magic, bytes of the whole file, crc32 of the blocks
_MAGIC = b"BGPACK01"
_ABANDONED_S = 3600.0  # since a half-written file was last touched
_log = logging.getLogger(__name__)


class Memory(Protocol):
    """Where a builder's blocks lie."""

    def take(self, size: int, fill: Fill) -> int:
        """The address of the next block, of `size` bytes; `fill` writes it where it is new."""
        ...


class Held(Memory):
    """Ordinary memory."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    @override
    def take(self, size: int, fill: Fill) -> int:
        whole = np.empty(size + _ALIGNMENT, np.uint8)
        start = -(address(whole) or 0) % _ALIGNMENT  # a block across cache lines costs a tenth
        block = whole[start : start + size]
        fill(block)
        self._blocks.append(block)
        return address(block) or 0


class _Counted(Memory):
    """No memory: how large the file will be."""

    def __init__(self) -> None:
        self.size = _HEADER.size

    @override
    def take(self, size: int, fill: Fill) -> int:
        self.size += _padded(size)
        return 0


class _Written(Memory):
    """One block at a time, gone once the file has it. The addresses are good for nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksum = 0

    @override
    def take(self, size: int, fill: Fill) -> int:
        block = np.zeros(_padded(size), np.uint8)
        fill(block[:size])
        self.checksum = crc32(block.data, self.checksum)
        self._file.write(block.data)
        return 0


class _Mapped(Memory):
    """The file's own pages, which other processes share."""

    def __init__(self, file: np.ndarray) -> None:
        self._file = file
        self._used = _HEADER.size

    @override
    def take(self, size: int, fill: Fill) -> int:
        start = self._used
        self._used += _padded(size)
        return (address(self._file) or 0) + start


def built(
    build: Callable[[Memory], T], folder: Path | None, key: str, limit: int = LIMIT
) -> tuple[T, object]:
    """What `build` makes of its blocks, and the memory that it points into.

    Args:
        build: takes the same sizes in the same order whenever the key is the same.
        folder: where files are kept; None keeps none.
        key: names all that the blocks depend on.
        limit: of the folder, in bytes; what was used longest ago makes room.
    """
    if folder is not None:
        counted = _Counted()
        build(counted)
        path = folder / f"{key}.packed"
        file = _read(path, counted.size)
        if file is None and _write(path, build, counted.size, limit):
            file = _read(path, counted.size)
        if file is not None:
            return build(_Mapped(file)), file
    held = Held()
    return build(held), held


def _read(path: Path, size: int) -> np.ndarray | None:
    """The mapped file; None where there is none that is whole."""
    try:
        with path.open("rb") as opened:
            file = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: it is empty
        _log.warning("%s cannot be read and is made again: %s", path.name, error)
        return None
    if len(file) != size or _HEADER.unpack(file[: _HEADER.size].data) != (
        _MAGIC,
        size,
        crc32(file[_HEADER.size :].data),
    ):
        _log.warning("%s is damaged and is made again.", path.name)
        return None
    with suppress(OSError):  # a folder that may only be read
        os.utime(path)  # for _make_room
    return file


def _write(path: Path, build: Callable[[Memory], T], size: int, limit: int) -> bool:
    """Whether the file is there now. What `build` raises goes on."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(path.parent, size, limit)
        if size > min(limit, shutil.disk_usage(path.parent).free):
            _log.info("There is no room to keep %s.", path.name)
            return False
        with partial.open("wb") as file:
            file.write(bytes(_HEADER.size))
            written = _Written(file)
            build(written)
            file.seek(0)
            file.write(_HEADER.pack(_MAGIC, size, written.checksum))
        partial.replace(path)
    except OSError as error:
        _log.warning("Packed weights cannot be kept: %s", error)
        return False
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return True


def _make_room(folder: Path, size: int, limit: int) -> None:
    for partial in folder.glob("*.partial"):
        if time.time() - partial.stat().st_mtime > _ABANDONED_S:
            partial.unlink(missing_ok=True)
    found = sorted((path.stat().st_mtime, path) for path in folder.glob("*.packed"))
    room = limit - sum(path.stat().st_size for _, path in found)
    for _, path in found:
        if room < size <= limit:
            room += path.stat().st_size
            path.unlink()


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
