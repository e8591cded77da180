"""What memory a model takes while it serves, worked out from its files' headers alone.

The arithmetic is that of the engine's own allocations; `bench/fit.py` holds it against what a
running engine is measured to take.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput
from baigong.inference.engine.messages import Dtype, EngineConfig

# Bytes of one weight: int8 and int4 have a float32 scale for every 64.
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 64}
SMALL_MODEL = 100_000_000  # parameters up to which "auto" is float32
PROCESS_BYTES = 160e6  # Python and torch, before there is a model
_SMALLEST_EXTENT = 64
# Packing takes a layer's largest matrix apart; so many of it stay with the allocator (measured).
_LEFT_OVER = 3.5


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


def fit(
    folder: Path,
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
    """
    config = _config(folder)
    shapes, is_narrow = _shapes(folder)
    parameters = sum(math.prod(shape) for shape in shapes.values())
    kind = dtype if dtype != "auto" else "bfloat16" if parameters > SMALL_MODEL else "float32"
    hidden, inner, layers = (
        config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or hidden // heads
    length = context or config["max_position_embeddings"]
    item = 4 if kind == "float32" else 2
    room = max(_SMALLEST_EXTENT, 1 << (length - 1).bit_length())  # extents are powers of two
    wide, narrow = heads * head, kv_heads * head
    ends = 2 * (hidden + wide) + 2 * (hidden + narrow) + 3 * (hidden + inner)
    rows = max(prefill_tokens, concurrency)
    vocabulary = config["vocab_size"]
    return Fit(
        dtype=kind,
        parameters=parameters,
        weights=sum(_bytes(name, shape, kind) for name, shape in shapes.items()),
        cache=concurrency * room * layers * 2 * narrow * item,
        adapters=adapters * rank * layers * ends * item,
        working=rows * 4 * (hidden + wide + 2 * narrow + 2 * max(hidden, inner, wide))
        + concurrency * vocabulary * 4
        + 2 * length * head * 4,
        # The largest matrix as float32 beside its packed form, where the file has it otherwise.
        loading=max(4.0 * math.prod(shapes[name]) for name in shapes) if is_narrow else 0.0,
        left_over=_LEFT_OVER * 4 * 2 * inner * hidden,
    )


def _bytes(name: str, shape: tuple[int, ...], kind: str) -> float:
    if len(shape) < 2:
        return 4.0 * math.prod(shape)
    is_edge = name.startswith(("model.embed_tokens.", "lm_head."))
    return WEIGHT_BYTES["int8" if kind == "int4" and is_edge else kind] * math.prod(shape)


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder.name}/config.json cannot be read: {error}",
            hint="Name a Hugging Face model folder, or a model that `baigong pull` brought.",
        ) from error
    missing = [
        key
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
        if key not in found
    ]
    if missing:
        raise InvalidInput(f"{folder.name}/config.json lacks {', '.join(missing)}.")
    return found


def _shapes(folder: Path) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Every tensor's shape, from the first bytes of each safetensors file; and is any not float32?"""
    is_narrow = False
    shapes: dict[str, tuple[int, ...]] = {}
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InvalidInput(f"{folder.name} has no safetensors files.")
    for file in files:
        with file.open("rb") as opened:
            head = opened.read(8)
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 0 < size <= file.stat().st_size - 8:
                raise InvalidInput(
                    f"{folder.name}/{file.name} is not safetensors, or was cut short.",
                    hint="Download it again.",
                )
            header = json.loads(opened.read(size))
        header.pop("__metadata__", None)
        shapes |= {name: tuple(about["shape"]) for name, about in header.items()}
        is_narrow |= any(about["dtype"] != "F32" for about in header.values())
    return shapes, is_narrow
