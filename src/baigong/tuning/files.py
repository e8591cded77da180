"""Files and folders that appear whole or not at all, whatever moment a process is killed at."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

_PARTIAL = ".partial"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, force it to disk, and rename it into place."""
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write a folder beside its place, force it to disk, and rename it into place."""
    partial = path.with_name(path.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    for file in partial.rglob("*"):
        if file.is_file():
            file.chmod(0o644)  # safetensors makes its files private
            _force(file)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def _force(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def is_disk_full(error: Exception) -> bool:
    """Whether an error means that there is no room left: the system says it, or a library does."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return "os error 28" in str(error)  # as safetensors words it
