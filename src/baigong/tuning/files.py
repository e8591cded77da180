"""Files and folders that appear whole or not at all, whatever moment a process is killed at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

_PARTIAL = ".partial"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, force it to disk, and rename it into place."""
    write_file(path, lambda place: place.write_bytes(data))


def write_file(path: Path, fill: Callable[[Path], object]) -> None:
    """The same of a file that `fill` writes."""
    partial = path.with_name(path.name + _PARTIAL)
    fill(partial)
    _force(partial)
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


def is_partial(path: Path) -> bool:
    """Whether it is what a kill left of a file or a folder that was being written."""
    return path.name.endswith(_PARTIAL)


def _force(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
