"""Attention of one step's tokens over the key-value arena, or over themselves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baigong.model.architecture import ModelConfig


@dataclass(frozen=True, slots=True)
class Run:
    """One decoding token for each of several neighbouring extents.

    `lengths` counts the tokens that each sees, itself included.
    """

    start: int
    capacity: int
    lengths: list[int]

    @property
    def end(self) -> int:
        return self.start + self.capacity * len(self.lengths)


@dataclass(frozen=True, slots=True)
class Stretch:
    """`count` tokens of one prompt, from `at` in the flat row, after `past` in slots from `start`."""

    at: int
    count: int
    start: int
    past: int


class StepAttention:
    """See decoder.Attend; made anew for each step, with everything that all layers share."""

    def __init__(
        self,
        config: ModelConfig,
        arena: Sequence[Tensor],
        slots: Sequence[int],
        decoding: Sequence[int],
        runs: Sequence[Run],
        stretches: Sequence[Stretch],
    ) -> None:
        """Plan one step.

        Args:
            config: sizes of the model.
            arena: per layer [slots, 2 * kv_heads, head_dim].
            slots: for each token of the flat row, where its key and value go.
            decoding: places in the flat row of the decoding tokens, in the order of `runs`.
            runs: what those see.
            stretches: parts of prompts.
        """
        self._config = config
        self._arena = arena
        device, dtype = arena[0].device, arena[0].dtype
        self._slots = torch.tensor(slots, device=device)
        self._stretches = stretches
        self._all_decode = not stretches and list(decoding) == list(range(len(decoding)))
        self._decoding = torch.tensor(decoding, device=device)
        windows = set(config.windows)
        self._reads = {w: [_Read.of_run(r, w, dtype, device) for r in runs] for w in windows}
        self._masks = {w: [_causal(s, w, dtype, device) for s in stretches] for w in windows}

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        config = self._config
        arena, window = self._arena[layer], config.windows[layer]
        arena.index_copy_(0, self._slots, qkv[:, config.heads :])
        q = qkv[:, : config.heads]
        if self._all_decode:
            return self._decode(q, arena, window)
        out = q.new_empty(len(q), config.heads * config.head_dim)
        if len(self._decoding):
            rows = self._decode(q.index_select(0, self._decoding), arena, window)
            out.index_copy_(0, self._decoding, rows)
        for stretch, mask in zip(self._stretches, self._masks[window], strict=True):
            part = slice(stretch.at, stretch.at + stretch.count)
            out[part] = self._prefill(q[part], arena, stretch, mask)
        return out

    def _decode(self, q: Tensor, arena: Tensor, window: int | None) -> Tensor:
        """One query of each row: the heads that share keys stand as if they were a short prompt."""
        config, row, parts = self._config, 0, []
        q = q.reshape(len(q), config.kv_heads, -1, config.head_dim)
        for read in self._reads[window]:
            keys, values = read.view(arena, config.kv_heads)
            part = _product(config, q[row : row + read.rows], keys, values, read.mask)
            parts.append(part.reshape(read.rows, -1))
            row += read.rows
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _prefill(self, q: Tensor, arena: Tensor, stretch: Stretch, mask: Tensor | None) -> Tensor:
        end = stretch.start + stretch.past + stretch.count
        start = stretch.start if mask is None else end - mask.shape[1]
        keys, values = torch.split(arena[start:end].transpose(0, 1), self._config.kv_heads)
        return _attend(self._config, q, keys, values, mask)


class SelfAttention:
    """See decoder.Attend: whole sequences that look at themselves and are not cached."""

    def __init__(
        self, config: ModelConfig, lengths: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> None:
        """Plan a flat row of sequences of these `lengths`."""
        self._config = config
        self._lengths = list(lengths)
        whole = [Stretch(0, length, 0, 0) for length in lengths]
        self._masks = {
            w: [_causal(s, w, dtype, device, cut=False) for s in whole] for w in set(config.windows)
        }

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        config = self._config
        masks = self._masks[config.windows[layer]]
        parts = []
        for part, mask in zip(torch.split(qkv, self._lengths), masks, strict=True):
            heads = torch.split(part, [config.heads, config.kv_heads, config.kv_heads], 1)
            q, keys, values = heads[0], heads[1].transpose(0, 1), heads[2].transpose(0, 1)
            parts.append(_attend(config, q, keys, values, mask))
        return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class _Read:
    """The part of the arena that a run sees, and which of it each row must not."""

    start: int
    capacity: int
    rows: int
    first: int  # within each extent: what lies before is out of every row's window
    last: int
    mask: Tensor | None  # additive [rows, 1, 1, last - first]; None when all rows see everything

    @classmethod
    def of_run(
        cls, run: Run, window: int | None, dtype: torch.dtype, device: torch.device
    ) -> _Read:
        last, rows = max(run.lengths), len(run.lengths)
        first = 0 if window is None else max(0, min(run.lengths) - window)
        if all(n == last for n in run.lengths):
            return cls(run.start, run.capacity, rows, first, last, None)
        place = torch.arange(first, last, device=device)
        ends = torch.tensor(run.lengths, device=device).unsqueeze(1)
        seen = place < ends
        if window is not None:
            seen &= place >= ends - window
        return cls(
            run.start, run.capacity, rows, first, last, _additive(seen, dtype)[:, None, None]
        )

    def view(self, arena: Tensor, kv_heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, kv_heads, last - first, head_dim], without a copy."""
        extents = arena[self.start : self.start + self.rows * self.capacity]
        rows = extents.view(self.rows, self.capacity, 2 * kv_heads, -1)[:, self.first : self.last]
        keys, values = torch.split(rows.transpose(1, 2), kv_heads, 1)
        return keys, values


def _attend(
    config: ModelConfig, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """[tokens, heads * head_dim] of q [tokens, heads, head_dim] and keys [kv_heads, seen, head_dim].

    Without a mask the tokens see those before them.
    """
    out = _product(
        config,
        q.transpose(0, 1).unsqueeze(0),
        keys.unsqueeze(0),
        values.unsqueeze(0),
        mask,
        is_causal=mask is None,
    )
    return out.squeeze(0).transpose(0, 1).reshape(len(q), -1)


def _product(
    config: ModelConfig,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    is_causal: bool = False,
) -> Tensor:
    """[rows, heads, tokens, head_dim] of q of that shape and keys [rows, kv_heads, seen, head_dim]."""
    if config.attention_softcap is not None:
        return soft_capped(config, q, keys, values, mask, is_causal=is_causal)
    return F.scaled_dot_product_attention(
        q,
        keys,
        values,
        attn_mask=mask,
        is_causal=is_causal,
        scale=config.attention_scale,
        enable_gqa=q.shape[1] != keys.shape[1],
    )


def soft_capped(
    config: ModelConfig,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    is_causal: bool,
) -> Tensor:
    """The same where the products of queries and keys are bent to stay below a cap (Gemma 2).

    `is_causal` is for tokens that start at the first key.
    """
    cap = config.attention_softcap
    assert cap is not None
    scale = config.attention_scale or config.head_dim**-0.5
    rows, heads, tokens, size = q.shape
    grouped = q.reshape(
        rows, keys.shape[1], -1, size
    )  # the heads that share keys, one after another
    scores = (grouped @ keys.transpose(-1, -2)).view(rows, heads, tokens, -1)
    scores = cap * torch.tanh(scores * (scale / cap))
    if is_causal:
        future = torch.ones(tokens, scores.shape[-1], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    if mask is not None:
        scores = scores + mask
    shares = scores.softmax(-1, torch.float32).to(q.dtype)
    return (shares.view(rows, keys.shape[1], -1, shares.shape[-1]) @ values).view(q.shape)


def _causal(
    stretch: Stretch,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
    *,
    cut: bool = True,
) -> Tensor | None:
    """Additive mask [count, seen]; None where plain causality from the first token says the same.

    With `cut`, what no token sees any more is left out on the left.
    """
    end = stretch.past + stretch.count
    if stretch.past == 0 and (window is None or end <= window):
        return None
    first = max(0, stretch.past + 1 - window) if cut and window is not None else 0
    token = torch.arange(stretch.past, end, device=device).unsqueeze(1)
    place = torch.arange(first, end, device=device)
    seen = place <= token
    if window is not None:
        seen &= place > token - window
    return _additive(seen, dtype)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return zeros.masked_fill_(~seen, float("-inf"))
