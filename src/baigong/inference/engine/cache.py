"""The key-value cache, and how the tokens of one step look at it.

    Cache ──reserve──▶ Extent (one sequence's room)      ArenaCache ──plan──▶ Attend (one step's tokens)

The scheduler knows `Cache` and hands extents about; what lies in them is the model's business.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from baigong.inference.engine.attention import Run, StepAttention, Stretch
from baigong.inference.engine.buddy import Buddies
from baigong.inference.engine.decoder import Attend
from baigong.inference.engine.messages import EngineConfig
from baigong.model.architecture import ModelConfig

_SMALLEST = 64  # tokens of the shortest extent


@dataclass(frozen=True, slots=True)
class Extent:
    """Room for `capacity` tokens of one sequence, from slot `start` of the arena on."""

    start: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a step, which follow `past` tokens that the extent already holds."""

    extent: Extent
    past: int
    count: int


class Cache(Protocol):
    """Keys and values of many sequences within a fixed memory."""

    @property
    def longest(self) -> int:
        """Most tokens that one sequence can ever have."""
        ...

    @property
    def num_used(self) -> int:
        """Tokens of room that are taken."""
        ...

    def reserve(self, tokens: int) -> Extent | None:
        """Room for at least `tokens`, or None when it has to wait for others to end."""
        ...

    def grow(self, extent: Extent, used: int) -> Extent | None:
        """More room, with the first `used` tokens kept; on None the old extent still stands."""
        ...

    def release(self, extent: Extent) -> None:
        """Give the room back."""
        ...

    def wipe(self, extent: Extent) -> None:
        """Forget what it holds: numbers that are not finite would spoil the next one's answer."""
        ...

    def copy(self, old: Extent, new: Extent, used: int) -> None:
        """Let `new` hold the first `used` tokens of `old` too."""
        ...


def token_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Memory of one cached token in all layers."""
    return config.layers * 2 * config.kv_heads * config.head_dim * dtype.itemsize


def room_for(config: EngineConfig, context: int, bytes_per_token: int) -> int:
    """Tokens of a cache: as configured, but no more than the largest batch can use of `context`."""
    tokens = config.cache_tokens or config.cache_mb * 2**20 // bytes_per_token
    return max(_SMALLEST, min(tokens, config.max_batch * _power_of_two(context)))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


class Extents:
    """The room of a cache as extents; `copy` is the part that knows what lies in them."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens - tokens % _SMALLEST
        self._buddies = Buddies(self._tokens, _SMALLEST)

    @property
    def longest(self) -> int:
        return self._buddies.largest

    @property
    def num_used(self) -> int:
        return self._tokens - self._buddies.num_free

    def reserve(self, tokens: int) -> Extent | None:
        size = max(_SMALLEST, _power_of_two(tokens))
        start = self._buddies.allocate(size)
        return None if start is None else Extent(start, size)

    def grow(self, extent: Extent, used: int) -> Extent | None:
        if self._buddies.double(extent.start, extent.capacity):
            return Extent(extent.start, 2 * extent.capacity)
        larger = self.reserve(2 * extent.capacity)
        if larger is not None:
            self.copy(extent, larger, used)
            self.release(extent)
        return larger

    def release(self, extent: Extent) -> None:
        self._buddies.release(extent.start, extent.capacity)

    def copy(self, old: Extent, new: Extent, used: int) -> None:
        """Copy the first `used` tokens."""
        raise NotImplementedError

    def wipe(self, extent: Extent) -> None:
        """Put zeros over what it holds."""
        raise NotImplementedError


class ArenaCache(Extents):
    """One tensor [slots, 2 * kv_heads, head_dim] per layer; every extent is a stretch of slots.

    A step writes all its keys and values with one copy per layer, and reads those of neighbouring
    extents through one strided view, so that decoding never copies the cache.
    """

    def __init__(
        self, config: ModelConfig, tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Take room for `tokens` at once; on a CPU its pages are touched when they are used."""
        super().__init__(tokens)
        self._config = config
        shape = (self._tokens, 2 * config.kv_heads, config.head_dim)
        self._layers = [zeros(shape, dtype, device) for _ in range(config.layers)]

    @override
    def copy(self, old: Extent, new: Extent, used: int) -> None:
        for layer in self._layers:
            layer[new.start : new.start + used] = layer[old.start : old.start + used]

    @override
    def wipe(self, extent: Extent) -> None:
        for layer in self._layers:
            layer[extent.start : extent.start + extent.capacity] = 0

    def plan(self, chunks: Sequence[Chunk]) -> Attend:
        """Attention for a step whose flat row of tokens is these chunks one after the other."""
        slots: list[int] = []
        decoding: list[tuple[Chunk, int]] = []  # with where the token is in the flat row
        stretches: list[Stretch] = []
        for chunk in chunks:
            first, at = chunk.extent.start + chunk.past, len(slots)
            if chunk.count == 1:
                decoding.append((chunk, at))
                slots.append(first)
            else:
                stretches.append(Stretch(at, chunk.count, chunk.extent.start, chunk.past))
                slots.extend(range(first, first + chunk.count))
        decoding.sort(key=lambda pair: pair[0].extent.start)
        return StepAttention(
            self._config,
            self._layers,
            slots,
            [at for _, at in decoding],
            _runs([chunk for chunk, _ in decoding]),
            stretches,
        )


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, which on a CPU take memory only where they are written.

    They must be zeros and not what lay there: a masked place still counts as 0 * what it holds.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def _runs(chunks: Sequence[Chunk]) -> list[Run]:
    """Group chunks whose extents have one size and lie side by side; `chunks` are in that order."""
    runs: list[Run] = []
    for chunk in chunks:
        extent, run = chunk.extent, runs[-1] if runs else None
        if run and run.capacity == extent.capacity and run.end == extent.start:
            run.lengths.append(chunk.past + 1)
        else:
            runs.append(Run(extent.start, extent.capacity, [chunk.past + 1]))
    return runs
