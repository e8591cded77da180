"""What a GGUF file holds: fields and tensors, as the `gguf` library reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from baigong.errors import InvalidInput, Unsupported

_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})$")


class File:
    """A GGUF file, or all the files that it is split into."""

    def __init__(self, path: Path) -> None:
        """Read the header; the tensors' numbers stay on the disk.

        Raises:
            Unsupported: the library is not installed, or the byte order is not this machine's.
            InvalidInput: it is cut short, damaged, or one of its parts is missing.
        """
        self.name = path.name
        parts = [_read(part) for part in _parts(path)]
        self.fields: dict[str, Any] = {n: f.contents() for n, f in parts[0].fields.items()}
        self.tensors: dict[str, Any] = {t.name: t for part in parts for t in part.tensors}
        wanted = self.fields.get("split.tensors.count", len(self.tensors))
        if wanted != len(self.tensors):
            raise InvalidInput(
                f"{self.name} and its other parts hold {len(self.tensors)} tensors, not {wanted}.",
                hint="They do not belong together; download them again.",
            )

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture", "?"))

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the architecture.

        Raises:
            Unsupported: it is written for each layer, and differs.
        """
        found = self.fields.get(f"{self.architecture}.{key}", default)
        if isinstance(found, list):
            if len(set(found)) != 1:
                raise Unsupported(f"{self.name} has layers of different sizes ({key}).")
            found = found[0]
        # Floats have single precision here; as short as they were before.
        return float(str(np.float32(found))) if isinstance(found, float) else found

    def need(self, key: str) -> Any:
        """The same of a field without which, or with 0, there is no model."""
        found = self.get(key)
        if not found:
            raise InvalidInput(
                f"{self.name} lacks {self.architecture}.{key}.", hint="Is it a whole model?"
            )
        return found


def stem_of(path: Path) -> str:
    """The file's name without what says which part it is."""
    return _SPLIT.sub("", path.stem)


def floats(tensor: Any, data: np.ndarray | None = None) -> np.ndarray:
    """A tensor's numbers, or those of some rows of its `data`, in float32, however it is quantised.

    Raises:
        Unsupported: in a way that the library cannot undo.
    """
    from gguf import dequantize  # noqa: PLC0415

    try:
        found: np.ndarray = dequantize(tensor.data if data is None else data, tensor.tensor_type)
    except NotImplementedError as error:
        raise Unsupported(
            f"{tensor.name} is quantised as {tensor.tensor_type.name}, which cannot be undone.",
            hint="Use a file of another quantisation, such as Q8_0 or Q4_K_M.",
        ) from error
    return found


def _read(path: Path) -> Any:
    try:
        from gguf import GGUFReader  # noqa: PLC0415  an extra
    except ImportError as error:
        raise Unsupported(
            "GGUF files cannot be read on this machine.", hint="Run `pip install 'baigong[gguf]'`."
        ) from error
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InvalidInput(
            f"{path.name} is no GGUF file, or damaged, or cut short: {error}",
            hint="Download it again.",
        ) from error
    if reader.byte_order != "I":
        raise Unsupported(f"{path.name} was written for machines of another byte order.")
    return reader


def _parts(path: Path) -> list[Path]:
    found = _SPLIT.search(path.stem)
    if found is None:
        return [path]
    count = int(found[2])
    names = [f"{stem_of(path)}-{n + 1:05d}-of-{count:05d}.gguf" for n in range(count)]
    parts = [path.with_name(name) for name in names]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise InvalidInput(
            f"{path.name} is one part of {count}, and {', '.join(missing)} is not beside it.",
            hint="Download all parts to one folder.",
        )
    return parts
