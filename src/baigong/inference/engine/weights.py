"""Tensors of a folder of safetensors files, read one at a time through the page cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from baigong.errors import InvalidInput, Unsupported
from baigong.model.architecture import plain_name

_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


class Weights:
    """Named tensors of one folder, whole or in shards. Nothing is ever unpickled."""

    def __init__(self, folder: Path, stem: str = "model") -> None:
        """Open `folder/{stem}.safetensors`, or the shards that its index names.

        Raises:
            Unsupported: there are only pickled weights.
            InvalidInput: a file is missing, cut short or not safetensors.
        """
        self._where = folder.name
        # Tensor name to the open file that holds it, and to what it is called there.
        self._files: dict[str, tuple[Any, str]] = {}
        self._paths = _paths(folder, stem)
        for path in self._paths:
            try:
                file = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise InvalidInput(
                    f"{self._where}/{path.name} cannot be read: {error}", hint="Download it again."
                ) from error
            names: list[str] = list(file.keys())  # type: ignore[no-untyped-call]
            self._files |= {plain_name(name): (file, name) for name in names}

    @property
    def names(self) -> list[str]:
        return list(self._files)

    @property
    def identity(self) -> tuple[tuple[str, int, int, int], ...]:
        """Path, size, modification time (ns) and inode of each file: other weights, another one."""
        stats = [(str(path.resolve()), path.stat()) for path in self._paths]
        return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(
            torch.Size(file.get_slice(name).get_shape()).numel()
            for file, name in self._files.values()
        )

    def get(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """A tensor on the CPU in the file's dtype.

        Raises:
            InvalidInput: it is missing, or its shape is not the one expected.
        """
        if name not in self._files:
            raise InvalidInput(
                f"The weights in {self._where} lack {name}.",
                hint="They do not belong to the config.json beside them.",
            )
        file, written = self._files[name]
        tensor: Tensor = file.get_tensor(written)
        if shape is not None and tuple(tensor.shape) != shape:
            raise InvalidInput(
                f"{name} in {self._where} is {list(tensor.shape)}, not {list(shape)}.",
                hint="The weights do not belong to the config.json beside them.",
            )
        return tensor


def _paths(folder: Path, stem: str) -> list[Path]:
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        # A name with a folder in it could reach outside.
        return [folder / Path(name).name for name in sorted(names)]
    single = folder / f"{stem}.safetensors"
    if single.exists():
        return [single]
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLED)
    if pickled:
        raise Unsupported(
            f"{folder.name} has only pickled weights ({pickled[0]}), which can run any code.",
            hint="Use a safetensors version of it, or convert it on a machine that may be lost.",
        )
    raise InvalidInput(f"{folder.name} has no {single.name}.")
