"""Weights and adapters in the layouts that forward.cpp reads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from baigong.inference.engine.native import structs
from baigong.inference.engine.native.structs import address

KINDS = {"float32": 0, "bfloat16": 1, "int8": 2, "int4": 3}
GROUP, LANES, BAND = 64, 16, 32
_EIGHTHS = (32, 16, 8, 4)


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix in forward.cpp's layout, with the memory that it points into."""

    struct: structs.Matrix
    held: tuple[object, ...]


def interleaved(inner: int) -> np.ndarray:
    """Source rows of a fused gate and up matrix, sixteen of one and sixteen of the other in turn."""
    gate = np.arange(inner, dtype=np.int32).reshape(-1, LANES)
    return np.stack((gate, gate + inner), 1).reshape(-1)


def pack(
    library: ctypes.CDLL,
    weight: Tensor,
    kind: str,
    bias: Tensor | None = None,
    order: np.ndarray | None = None,
    threads: int = 1,
) -> Packed:
    """Pack weight [n, k], row `order[i]` of it becoming output i."""
    n, k = weight.shape
    bands = -(-n // BAND)
    rows = np.full(bands * BAND, -1, np.int32)
    rows[:n] = np.arange(n, dtype=np.int32) if order is None else order
    source = weight.float().contiguous()
    data = np.empty(bands * BAND * k * _EIGHTHS[KINDS[kind]] // 8, np.uint8)
    scales = np.empty(bands * BAND * k // GROUP, np.float32) if KINDS[kind] >= 2 else None

    def work(blocks: tuple[int, int]) -> None:
        library.bg_pack(
            KINDS[kind], address(source), k, address(rows), *blocks, address(data), address(scales)
        )

    cuts = np.linspace(0, 2 * bands, min(2 * bands, 4 * threads) + 1, dtype=int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pairwise(cuts)))
    offsets = None
    if bias is not None:
        offsets = np.zeros(bands * BAND, np.float32)
        offsets[:n] = bias.float().numpy()[rows[:n]]
    struct = structs.Matrix(KINDS[kind], k, bands, address(data), address(scales), address(offsets))
    return Packed(struct, (data, scales, offsets))


@dataclass(frozen=True, slots=True)
class Part:
    """One module's addition to outputs `start:stop` of a projection: a [rank, in], b [rank, out]."""

    start: int
    stop: int
    a: Tensor
    b: Tensor


def pack_lora(
    parts: Sequence[Part], width: int, dtype: torch.dtype, order: np.ndarray | None = None
) -> tuple[structs.Lora, tuple[Tensor | np.ndarray, ...]]:
    """The additions to one projection of `width` outputs, each block of sixteen with the ranks it needs."""
    a = torch.cat([part.a for part in parts]).to(dtype).contiguous()
    blocks = -(-width // BAND) * 2
    whole = torch.zeros(len(a), blocks * LANES)
    reach = np.zeros(
        (blocks * LANES, 2), np.int32
    )  # of each output: first rank, and one past the last
    row = 0
    for part in parts:
        rank = len(part.a)
        whole[row : row + rank, part.start : part.stop] = part.b
        reach[part.start : part.stop] = row, row + rank
        row += rank
    if order is not None:
        index = np.arange(blocks * LANES)
        index[: len(order)] = order
        whole, reach = whole[:, torch.from_numpy(index)], reach[index]
    lanes = reach.reshape(blocks, LANES, 2)
    stops = lanes[:, :, 1].max(1)
    starts = np.where(lanes[:, :, 1] > 0, lanes[:, :, 0], len(a)).min(1)
    first = np.minimum(starts, stops).astype(np.int32)
    count = (stops - first).astype(np.int32)
    offset = np.concatenate(([0], np.cumsum(count[:-1], dtype=np.int64))) * LANES
    by_block = whole.view(len(a), blocks, LANES).transpose(0, 1)  # [blocks, ranks, 16]
    ranks = torch.arange(len(a))
    wanted = (ranks >= torch.from_numpy(first)[:, None]) & (
        ranks < torch.from_numpy(stops)[:, None]
    )
    b = by_block[wanted].to(dtype).contiguous()
    held = (a, b, first, count, offset)
    return structs.Lora(len(a), *(address(array) for array in held)), held
