"""The header of a safetensors file: its tensors, held against one another and the file's size."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from baigong.errors import InvalidInput

MOST = 25_000_000  # bytes of a header, as Hugging Face has it
_FIRST = 1 << 16  # bytes asked for at first: the whole header of a small file
_LONGEST_SHAPE = 32
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}

Read = Callable[[int, int], bytes]  # start, stop; fewer where the file ends before


class TensorHead(NamedTuple):
    """A tensor without its numbers; `dtype` as safetensors writes it, such as BF16."""

    shape: tuple[int, ...]
    dtype: str


class Layout(NamedTuple):
    """The tensors of a file, and how many bytes it has by its header."""

    tensors: dict[str, TensorHead]
    size: int


class Broken(InvalidInput):
    """A file that is not what its name says, or was cut short."""

    code = "broken_weights"


def read_layout(read: Read, size: int) -> Layout:
    """The tensors of a file of `size` bytes, in the order of their numbers.

    Raises:
        Broken: the header is no such, or the numbers leave gaps, overlap or end behind the file.
    """
    start = read(0, _FIRST)
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
    if not 0 < length <= size - 8:
        raise Broken(f"its header of {length} bytes does not fit into its {size} bytes")
    if length > MOST:
        raise Broken(f"its header of {length} bytes is longer than the {MOST} that are allowed")
    stop = 8 + length
    if len(start) < stop:
        start += read(len(start), stop)
    try:
        header = json.loads(start[8:stop], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Broken(f"its header is not JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise Broken("its header is not a JSON object")
    found = [_tensor(name, about) for name, about in header.items() if name != "__metadata__"]
    end = _check_tiles(found, size - stop)
    return Layout({name: tensor for _, _, name, tensor in found}, stop + end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"'{twice[:80]}' is there twice")
    return found


def _tensor(name: str, about: Any) -> tuple[int, int, str, TensorHead]:
    """First byte, last byte + 1, name and the tensor."""
    short = name[:80]
    try:
        shape, dtype, (start, stop) = about["shape"], about["dtype"], about["data_offsets"]
        bits = _BITS[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"'{short}' lacks its shape, offsets or a dtype that is known") from error
    is_plain = isinstance(shape, list) and len(shape) <= _LONGEST_SHAPE
    if not is_plain or not all(_is_count(n) for n in [*shape, start, stop]):
        raise Broken(f"'{short}' has an odd shape or odd offsets")
    if math.prod(shape) * bits != 8 * (stop - start):
        raise Broken(f"'{short}' of shape {shape} in {dtype} is not bytes {start} to {stop}")
    return start, stop, name, TensorHead(tuple(shape), dtype)


def _check_tiles(found: list[tuple[int, int, str, TensorHead]], size: int) -> int:
    found.sort(key=lambda one: one[:2])
    at = 0
    for start, stop, name, _ in found:
        if start != at:
            raise Broken(f"'{name[:80]}' begins at byte {start} of the numbers, not at {at}")
        at = stop
    if at > size:
        raise Broken(f"its tensors end at byte {at} of the numbers, and the file at {size}")
    return at


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
