"""What memory a model takes while it serves, worked out from its files' headers alone.

The arithmetic is that of the engine's own allocations; `bench/fit.py` holds it against what a
running engine is measured to take.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from baigong.errors import Unsupported
from baigong.inference.engine.messages import SMALL_MODEL, Dtype, EngineConfig
from baigong.model.architecture import (
    ModelConfig,
    Shape,
    architecture_of,
    plain_name,
    shape_of,
)
from baigong.model.headers import Headers

# Bytes of one weight: int8 and int4 have a float32 scale for every 64.
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 64}
PROCESS_BYTES = 160e6  # Python and torch, before there is a model
_TRANSFORMERS_BYTES = 140e6  # transformers beside them
_SMALLEST_EXTENT = 64
# Packing takes a layer's largest matrix apart; so many of it stay with the allocator (measured).
_LEFT_OVER = 3.5
# Of the weights that plain.py turns, the share that stays with the allocator (measured).
_LEFT_OVER_TURNED = 0.2
# For every shape of a bfloat16 product oneDNN compiles a kernel and keeps up to 1024 of them. That
# many bytes each, and that many shapes of prompts in a short run, were measured (with AMX).
_KERNEL_BYTES, _KERNELS, _PROMPT_SHAPES, _EXPERT_SHAPES = 1.1e6, 1024, 16, 15


class Fit(msgspec.Struct, frozen=True):
    """Bytes by what they are for; `loading` is there only while the weights are packed."""

    dtype: str
    parameters: int
    weights: float
    cache: float
    adapters: float
    working: float
    loading: float
    left_over: float
    process: float = PROCESS_BYTES

    @property
    def _always(self) -> float:
        return self.process + self.left_over

    @property
    def serving(self) -> float:
        """Bytes while requests run."""
        return self.weights + self.cache + self.adapters + self.working + self._always

    @property
    def peak(self) -> float:
        """The most at any time."""
        return max(self.serving, self.weights + self.loading + self._always)


class _Load(msgspec.Struct, frozen=True):
    """What is asked of an engine, and the bytes of one number of its cache."""

    kind: Dtype
    length: int
    concurrency: int
    adapters: int
    rank: int
    rows: int  # of one step

    @property
    def item(self) -> int:
        return 4 if self.kind == "float32" else 2

    @property
    def room(self) -> int:
        """Tokens of all sequences' room: extents are powers of two."""
        return self.concurrency * max(_SMALLEST_EXTENT, 1 << (self.length - 1).bit_length())


def fit(
    model: Path | Headers,
    *,
    dtype: Dtype = "auto",
    context: int | None = None,
    concurrency: int = 32,
    adapters: int = 0,
    rank: int = 8,
    prefill_tokens: int = EngineConfig().prefill_tokens,
) -> Fit:
    """What `concurrency` sequences of `context` tokens and `adapters` of `rank` on all projections take.

    Raises:
        InvalidInput: config.json or a header is missing or broken.
        Unsupported: the engine cannot serve the model, or not in this dtype.
    """
    headers = Headers.read(model) if isinstance(model, Path) else model
    kind = EngineConfig(dtype=dtype).dtype_for(headers.parameters)
    shape = shape_of(headers.fields, headers.name)
    load = _Load(
        kind,
        min(context or shape.context, shape.context),
        concurrency,
        adapters,
        rank,
        max(prefill_tokens, concurrency),
    )
    if isinstance(shape, ModelConfig) and shape.is_packable:
        return _native(headers, shape, load)
    if kind in ("int8", "int4"):
        raise Unsupported(
            f"Weights as {kind} need the native forward pass, which does not know this architecture.",
            hint="Use bfloat16.",
        )
    if isinstance(shape, ModelConfig):
        return _plain(headers, shape, load)
    return _foreign(headers, shape, load)


def _native(headers: Headers, shape: ModelConfig, load: _Load) -> Fit:
    """Weights packed for forward.cpp."""
    shapes = _read_tensors(headers, shape)
    hidden, inner = shape.hidden_size, shape.inner_size
    wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    ends = 2 * (hidden + wide) + 2 * (hidden + narrow) + 3 * (hidden + inner)
    is_narrow = any(tensor.dtype != "F32" for tensor in headers.tensors.values())
    return Fit(
        dtype=load.kind,
        parameters=headers.parameters,
        weights=sum(_packed(name, size, load.kind) for name, size in shapes.items()),
        cache=_cache(shape, load),
        adapters=load.adapters * load.rank * shape.layers * ends * load.item,
        working=load.rows * 4 * (hidden + wide + 2 * narrow + 2 * max(hidden, inner, wide))
        + load.concurrency * shape.vocabulary * 4
        + 2 * load.length * shape.head_dim * 4,
        # The largest matrix as float32 beside its packed form, where the file has it otherwise.
        loading=max(4.0 * math.prod(size) for size in shapes.values()) if is_narrow else 0.0,
        left_over=_LEFT_OVER * 4 * 2 * inner * hidden,
    )


def _packed(name: str, shape: tuple[int, ...], kind: str) -> float:
    if len(shape) < 2:
        return 4.0 * math.prod(shape)
    is_edge = name.startswith(("model.embed_tokens.", "lm_head."))
    return WEIGHT_BYTES["int8" if kind == "int4" and is_edge else kind] * math.prod(shape)


def _plain(headers: Headers, shape: ModelConfig, load: _Load) -> Fit:
    """Weights as torch has them."""
    shapes, item = _read_tensors(headers, shape), load.item
    weights = item * sum(math.prod(size) for size in shapes.values())
    edge = item * shape.vocabulary * shape.hidden_size
    is_turned = load.kind == "float32" and headers.parameters <= SMALL_MODEL
    second = edge if shape.is_tied and is_turned else 0
    hidden, inner, chosen = shape.hidden_size, shape.inner_size, 0
    if shape.experts is not None:
        inner, chosen = shape.experts.chosen * shape.experts.inner_size, shape.experts.chosen
    wide = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    masks = len({window for window in shape.windows if window}) * load.length
    return Fit(
        dtype=load.kind,
        parameters=headers.parameters,
        weights=weights + second,
        cache=_cache(shape, load),
        adapters=load.adapters * load.rank * item * _adapted(shape),
        working=load.rows * item * ((3 + 2 * chosen) * hidden + wide + 3 * inner + masks)
        + load.concurrency * shape.vocabulary * 4
        + _kernels(shape, load),
        loading=item * 2 * shape.inner_size * hidden,
        left_over=_LEFT_OVER_TURNED * (weights - edge) if is_turned else 0.0,
    )


def _kernels(shape: Shape, load: _Load) -> float:
    if load.kind == "float32":
        return 0.0
    experts = shape.experts if isinstance(shape, ModelConfig) else None
    shapes = (3 if experts else 5) * (load.concurrency + _PROMPT_SHAPES)
    shapes += 2 * _EXPERT_SHAPES * experts.count if experts else 0
    return _KERNEL_BYTES * min(shapes, _KERNELS)


def _adapted(shape: ModelConfig) -> int:
    """Numbers of an adapter of rank 1: those of a fused projection stand in a block diagonal."""
    hidden, inner = shape.hidden_size, shape.inner_size
    wide, narrow = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    parts = (1, 1) if shape.is_fused else (3, 2)
    attention = parts[0] * (hidden + wide + 2 * narrow) + wide + hidden
    mlp = parts[1] * (hidden + 2 * inner) + inner + hidden
    plain = shape.layers - (len(shape.experts.layers) if shape.experts else 0)
    return shape.layers * attention + plain * mlp


def _foreign(headers: Headers, shape: Shape, load: _Load) -> Fit:
    """A model of transformers, about; only one that writes keeps a cache.

    Weights that are served as the file has them stay its pages, and are counted all the same.
    """
    writes = architecture_of(headers.fields).endswith(("ForCausalLM", "LMHeadModel"))
    hidden, inner = shape.hidden_size, shape.inner_size
    return Fit(
        dtype=load.kind,
        parameters=headers.parameters,
        weights=load.item * headers.parameters,
        cache=_cache(shape, load) if writes else 0.0,
        adapters=load.adapters * load.rank * load.item * shape.layers * (8 * hidden + 2 * inner),
        working=load.rows * 4 * (6 * hidden + 3 * inner)
        + load.concurrency * shape.vocabulary * 4
        + (_kernels(shape, load) if writes else 0.0),
        loading=0.0,
        left_over=0.0,
        process=PROCESS_BYTES + _TRANSFORMERS_BYTES,
    )


def _cache(shape: Shape, load: _Load) -> float:
    """A layer with a window has the room of all its tokens too."""
    return load.room * shape.layers * 2 * shape.kv_heads * shape.head_dim * load.item


def _read_tensors(headers: Headers, shape: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The tensors that the engine reads, by their plain names: no tower that sees, no tied head."""
    names = {plain_name(name): tensor.shape for name, tensor in headers.tensors.items()}
    kept = ("model.",) if shape.is_tied else ("model.", "lm_head.")
    return {name: size for name, size in names.items() if name.startswith(kept)}
