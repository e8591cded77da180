"""Weights and adapters in the layouts that forward.cpp reads."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from baigong.inference.engine.decoder import PROJECTIONS, projection_shapes
from baigong.inference.engine.lora import Pair
from baigong.inference.engine.native import structs
from baigong.inference.engine.native.structs import address
from baigong.inference.engine.pace import Pace
from baigong.model.architecture import ModelConfig

KINDS = {"float32": 0, "bfloat16": 1, "int8": 2, "int4": 3}
GROUP, LANES, BAND = 64, 16, 32
_EIGHTHS = (32, 16, 8, 4)


@dataclass(frozen=True, slots=True)
class Form:
    """A packed matrix [n, k]: its data, scales and biases, one after the other in one block."""

    kind: str
    n: int
    k: int
    has_bias: bool

    @property
    def bands(self) -> int:
        return -(-self.n // BAND)

    @property
    def stops(self) -> tuple[int, int, int]:
        """Bytes at which data, scales and biases end."""
        kind, outputs = KINDS[self.kind], self.bands * BAND
        data = outputs * self.k * _EIGHTHS[kind] // 8
        scales = data + (outputs * self.k // GROUP * 4 if kind >= KINDS["int8"] else 0)
        return data, scales, scales + (outputs * 4 if self.has_bias else 0)

    def at(self, start: int) -> structs.Matrix:
        """The matrix whose block lies at an address."""
        data, scales, stop = self.stops
        return structs.Matrix(
            KINDS[self.kind],
            self.k,
            self.bands,
            start,
            start + data if scales > data else None,
            start + scales if stop > scales else None,
        )


def interleaved(inner: int) -> np.ndarray:
    """Source rows of a fused gate and up matrix, sixteen of one and sixteen of the other in turn."""
    gate = np.arange(inner, dtype=np.int32).reshape(-1, LANES)
    return np.stack((gate, gate + inner), 1).reshape(-1)


def pack(
    library: ctypes.CDLL,
    form: Form,
    block: np.ndarray,
    weight: Tensor,
    bias: Tensor | None = None,
    order: np.ndarray | None = None,
    threads: int = 1,
) -> None:
    """Pack weight [n, k] into `block`, row `order[i]` of it becoming output i."""
    n, k, outputs = form.n, form.k, form.bands * BAND
    rows = np.full(outputs, -1, np.int32)
    rows[:n] = np.arange(n, dtype=np.int32) if order is None else order
    source = weight.float().contiguous()
    matrix = form.at(address(block) or 0)

    def work(blocks: tuple[int, int]) -> None:
        library.bg_pack(
            matrix.kind, address(source), k, address(rows), *blocks, matrix.data, matrix.scales
        )

    cuts = np.linspace(0, 2 * form.bands, min(2 * form.bands, 4 * threads) + 1, dtype=int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pairwise(cuts)))
    if bias is not None:
        _, start, stop = form.stops
        offsets = block[start:stop].view(np.float32)
        offsets[:] = 0
        offsets[:n] = bias.float().numpy()[rows[:n]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Which ranks of an addition reach each block of sixteen outputs; forward.cpp's arrays of a Lora.

    Attributes:
        rank: of all its modules together.
        order: [16 * blocks] the output at each place, -1 for none.
        values: how many b takes.
    """

    rank: int
    blocks: int
    order: np.ndarray
    first: np.ndarray
    count: np.ndarray
    offset: np.ndarray
    values: int


@cache
def reach(modules: tuple[tuple[int, int], ...], inner: int | None = None) -> Reach:
    """For a projection of modules given as (outputs, rank of its addition or 0).

    With `inner`, their outputs are interleaved. All layers and most adapters are alike, so it is worked
    out once for them.
    """
    width = sum(outputs for outputs, _ in modules)
    blocks = -(-width // BAND) * (BAND // LANES)
    order = np.full(blocks * LANES, -1, np.int32)
    order[:width] = np.arange(width) if inner is None else interleaved(inner)
    ends = np.cumsum([rank for _, rank in modules])
    spans = [
        (end - rank, end) if rank else (0, 0) for (_, rank), end in zip(modules, ends, strict=True)
    ]
    # Of each output: its first rank, and one past its last; nothing reaches what is no output.
    by_output = np.repeat(np.array([*spans, (0, 0)]), [*(n for n, _ in modules), 1], axis=0)
    lanes = by_output[order].reshape(blocks, LANES, 2)
    stops = lanes[:, :, 1].max(1)
    starts = np.where(lanes[:, :, 1] > 0, lanes[:, :, 0], ends[-1]).min(1)
    first = np.minimum(starts, stops).astype(np.int32)
    count = ((stops - first + 1) // 2 * 2).astype(np.int32)
    offset = np.concatenate(([0], np.cumsum(count, dtype=np.int64))) * LANES
    return Reach(int(ends[-1]), blocks, order, first, count, offset[:-1], int(offset[-1]))


def pack_adapter(
    library: ctypes.CDLL,
    pairs: Mapping[int, Mapping[str, Pair]],
    config: ModelConfig,
    dtype: torch.dtype,
    pace: Pace,
) -> tuple[ctypes.Array[structs.Lora], tuple[object, ...]]:
    """A table [layers, 4] of additions, and the memory that it points into.

    The copying is done in C++, and other threads of Python run on meanwhile.
    """
    table = (structs.Lora * (config.layers * len(PROJECTIONS)))()
    held: list[object] = []
    widths = {module: shape[0] for module, shape in projection_shapes(config).items()}
    for layer, found in pairs.items():
        for column, (projection, members) in enumerate(PROJECTIONS.items()):
            parts = [_readable(found[m]) if m in found else None for m in members]
            if any(parts):
                lora = table[layer * len(PROJECTIONS) + column]
                inner = config.inner_size if projection == "gate_up" else None
                held += _fill(library, lora, [widths[m] for m in members], parts, inner, dtype)
                pace()
    return table, tuple(held)


def _fill(
    library: ctypes.CDLL,
    lora: structs.Lora,
    widths: Sequence[int],
    parts: Sequence[Pair | None],
    inner: int | None,
    dtype: torch.dtype,
) -> tuple[object, ...]:
    """Lay one projection's addition out, None where a module has none; says what `lora` points into."""
    plan = reach(
        tuple((n, len(p.a) if p else 0) for n, p in zip(widths, parts, strict=True)), inner
    )
    k = next(pair.a.shape[1] for pair in parts if pair)
    room = torch.zeros(plan.rank * k + plan.values, dtype=dtype)
    lora.rank, lora.a = plan.rank, room.data_ptr()
    lora.b = lora.a + plan.rank * k * dtype.itemsize
    lora.first, lora.count, lora.offset = map(address, (plan.first, plan.count, plan.offset))
    job = structs.LoraJob(k, plan.blocks, dtype == torch.float32)
    job.order, job.to = address(plan.order), ctypes.pointer(lora)
    for start, width, pair in zip(accumulate(widths, initial=0), widths, parts, strict=False):
        if pair:
            place = job.part[job.parts]
            place.rank, place.scale, place.start, place.stop = (
                len(pair.a),
                pair.scale,
                start,
                start + width,
            )
            place.kind = KINDS["float32" if pair.a.dtype == torch.float32 else "bfloat16"]
            place.a, place.b = pair.a.data_ptr(), pair.b.data_ptr()
            job.parts += 1
    library.bg_pack_lora(ctypes.byref(job))
    return room, plan


def _readable(pair: Pair) -> Pair:
    """The pair in a type that lora.h reads."""
    a, b = pair.a.contiguous(), pair.b.contiguous()
    if a.dtype != b.dtype or a.dtype not in (torch.float32, torch.bfloat16):
        a, b = a.float(), b.float()
    return Pair(a, b, pair.scale)
