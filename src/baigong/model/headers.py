"""A model by its config.json and the first bytes of its weights' files, wherever those lie."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec

from baigong.errors import InvalidInput
from baigong.model.architecture import parse_fields
from baigong.model.tensors import Broken, TensorHead, read_layout

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
_MOST = 100_000_000  # bytes of a configuration or an index
_AT_ONCE = 8


class Source(Protocol):
    """Where a model's files are."""

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> Mapping[str, int]:
        """Their sizes in bytes, by path."""
        ...

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start:stop of a file, fewer where it ends before."""
        ...


class FolderSource:
    """See Source."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        files = folder.iterdir() if folder.is_dir() else ()
        self.files = {file.name: file.stat().st_size for file in files if file.is_file()}
        self._folder = folder

    def read(self, path: str, start: int, stop: int) -> bytes:
        with (self._folder / path).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)


class Headers(msgspec.Struct, frozen=True):
    """What a model is: the fields of its config.json, and every tensor's name, shape and dtype."""

    name: str
    fields: dict[str, Any]
    tensors: dict[str, TensorHead]

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @classmethod
    def read(cls, source: Path | Source) -> Headers:
        """Read a folder or another source; of the weights no more than their files' headers.

        Raises:
            InvalidInput: config.json or a file of weights is missing or broken.
        """
        files = FolderSource(source) if isinstance(source, Path) else source
        if CONFIG not in files.files:
            raise InvalidInput(
                f"{files.name} has no config.json.", hint="Is it a Hugging Face model?"
            )
        fields = parse_fields(_whole(files, CONFIG), files.name)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda path: _header(files, path), _weights(files))
            tensors = {name: tensor for header in found for name, tensor in header.items()}
        return cls(files.name, fields, tensors)


def _weights(source: Source) -> list[str]:
    """The files that hold the weights: those that the index names, or the only one."""
    if INDEX not in source.files:
        files = ["model.safetensors"]
    else:
        try:
            named = set(json.loads(_whole(source, INDEX))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{source.name}/{INDEX} is broken: {error}") from error
        files = sorted(Path(str(name)).name for name in named)
    missing = [name for name in files if name not in source.files]
    if missing:
        raise InvalidInput(
            f"{source.name} has no {missing[0]}.",
            hint="Weights are read from safetensors alone: convert it with save_pretrained.",
        )
    return files


def _whole(source: Source, path: str) -> bytes:
    return source.read(path, 0, min(source.files[path], _MOST))


def _header(source: Source, path: str) -> dict[str, TensorHead]:
    try:
        return read_layout(lambda a, b: source.read(path, a, b), source.files[path]).tensors
    except Broken as error:
        raise InvalidInput(
            f"{source.name}/{path} is not safetensors, or was cut short: {error.message}.",
            hint="Download it again.",
        ) from error
