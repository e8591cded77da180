"""The tensors of a GGUF file as a checkpoint of transformers has them, written one at a time.

What the file holds as float32, float16 or bfloat16 keeps its type; quantised ones become bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from baigong.errors import InvalidInput, Unsupported
from baigong.model.gguf.family import ROPE_FACTORS, Family
from baigong.model.gguf.file import File, floats
from baigong.types import Progress, Report

_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_AT_ONCE = 1 << 21  # bytes of quantised numbers
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # the types by safetensors' names, which are GGUF's too


@dataclass(frozen=True, slots=True)
class Target:
    """A tensor to be written; `read` gives its numbers, bfloat16 as uint16."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=object)) * _BYTES[self.dtype]


def write_weights(
    file: File, family: Family, heads: tuple[int, int], path: Path, report: Report
) -> None:
    """Write all tensors as safetensors, with room in memory for one of them.

    Args:
        heads: of queries, and of keys and values.

    Raises:
        Unsupported: a tensor that is not known, or quantised in a way that cannot be undone.
        InvalidInput: a layer lacks one.
    """
    targets = [
        target for tensor in file.tensors.values() for target in _targets(tensor, family, heads)
    ]
    _check_layers(file, targets)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for target in targets:
        span = [at, at + target.size]
        header[target.name] = {"dtype": target.dtype, "shape": target.shape, "data_offsets": span}
        at += target.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        done = 0
        for target in targets:
            out.write(np.ascontiguousarray(target.read()).data)
            done += target.size
            report(Progress(done, at, "bytes"))


def _targets(tensor: Any, family: Family, heads: tuple[int, int]) -> Iterator[Target]:
    """What becomes of one tensor: one, none, or one for each expert."""
    name, shape = tensor.name, tuple(int(size) for size in reversed(tensor.shape))
    if name in ROPE_FACTORS or name.endswith(".attn_rot_embd"):
        return
    kind = tensor.tensor_type.name
    dtype = kind if kind in _BYTES else "BF16"

    def read(expert: int | None = None) -> np.ndarray:
        return _numbers(tensor, tensor.data if expert is None else tensor.data[expert], dtype)

    if name in _WHOLE:
        target, part = _WHOLE[name], ""
    else:
        number, part, ending = _split(name)
        found = family.name_of(part)
        if found is None or ending not in ("weight", "bias"):
            raise Unsupported(f"The tensor {name} is not known to this architecture.")
        target = f"model.layers.{number}.{found}.{ending}"
    if "{}" in target:
        for expert in range(shape[0]):
            yield Target(target.format(expert), dtype, shape[1:], partial(read, expert))
    elif family.norm_offset and target.endswith("norm.weight"):
        yield Target(target, "F32", shape, lambda: floats(tensor) - np.float32(family.norm_offset))
    elif family.is_turned and part in ("attn_q", "attn_k"):
        count = heads[part == "attn_k"]
        if shape[0] % (2 * count):
            raise InvalidInput(f"{name} has {shape[0]} rows, which {count} heads cannot share.")
        yield Target(target, dtype, shape, lambda: _halves(read(), count))
    else:
        yield Target(target, dtype, shape, read)


def _split(name: str) -> tuple[str, str, str]:
    """`blk.7.attn_q.weight` as 7, attn_q and weight."""
    pieces = name.split(".")
    if len(pieces) == 4 and pieces[0] == "blk":
        return pieces[1], pieces[2], pieces[3]
    return "", "", ""


def _check_layers(file: File, targets: list[Target]) -> None:
    """Every layer has what the first one has."""
    names = {target.name for target in targets}
    first = [name.removeprefix("model.layers.0.") for name in names if "layers.0." in name]
    for number in range(file.need("block_count")):
        lacking = [name for name in first if f"model.layers.{number}.{name}" not in names]
        if lacking or not first:
            raise InvalidInput(
                f"Layer {number} in {file.name} lacks {', '.join(lacking) or 'everything'}.",
                hint="The file is not whole; download it again.",
            )


def _numbers(tensor: Any, data: np.ndarray, dtype: str) -> np.ndarray:
    """`data` of a tensor, or of one expert in it, in the type that is written."""
    if tensor.tensor_type.name == "BF16":
        return data.view(np.uint16)
    if tensor.tensor_type.name == dtype:
        return data
    few = max(1, _AT_ONCE // data.shape[-1])  # an embedding whole would take gigabytes
    rows = (data[at : at + few] for at in range(0, len(data), few))
    return np.concatenate([_bfloat16(floats(tensor, piece)) for piece in rows])


def _bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Rounded to the nearest, to even where two are as near."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k, or their biases, in the order in which transformers turns them."""
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
