"""The shape of a model, read from its config.json in any of the forms that are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput, Unsupported


class Family(msgspec.Struct, frozen=True):
    """What one `model_type` means where its config.json says nothing."""

    qkv_bias: bool = False  # always, whatever `attention_bias` says
    has_qk_norm: bool = False
    head_dim: int | None = None
    sliding_window: int | None = None
    has_window_switch: bool = False  # `sliding_window` counts only with `use_sliding_window`


# One decoder serves all of these; a new one that differs in these points only is a row.
FAMILIES = {
    "llama": Family(),
    "mistral": Family(sliding_window=4096),
    "qwen2": Family(qkv_bias=True, has_window_switch=True),
    "qwen3": Family(has_qk_norm=True, head_dim=128, has_window_switch=True),
}


class ModelConfig(msgspec.Struct, frozen=True):
    """Sizes and switches of a decoder. `windows` holds, for each layer, how far back it looks."""

    architecture: str
    vocabulary: int
    hidden_size: int
    inner_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_epsilon: float
    is_tied: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    has_qk_norm: bool
    windows: tuple[int | None, ...]
    rope: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> ModelConfig:
        """Read `folder/config.json`.

        Raises:
            Unsupported: an architecture or a setting that this engine cannot do.
            InvalidInput: the file is missing, broken or contradicts itself.
        """
        path = folder / "config.json"
        try:
            fields = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise InvalidInput(
                f"{folder.name} has no config.json.", hint="Is it a Hugging Face model folder?"
            ) from error
        except ValueError as error:
            raise InvalidInput(f"{folder.name}/config.json is not JSON: {error}") from error
        try:
            return _from_fields(fields)
        except KeyError as error:
            raise InvalidInput(f"{folder.name}/config.json lacks {error}.") from error


def _from_fields(fields: dict[str, Any]) -> ModelConfig:
    kind = fields.get("model_type", "?")
    family = FAMILIES.get(kind)
    if family is None:
        raise Unsupported(
            f"This engine does not know the architecture '{kind}'.",
            hint=f"It serves {', '.join(FAMILIES)}.",
        )
    _refuse_unknown(fields)
    heads = fields["num_attention_heads"]
    head_dim = fields.get("head_dim") or family.head_dim or fields["hidden_size"] // heads
    bias = bool(fields.get("attention_bias", False))
    return ModelConfig(
        architecture=kind,
        vocabulary=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        inner_size=fields["intermediate_size"],
        layers=fields["num_hidden_layers"],
        heads=heads,
        kv_heads=fields.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        context=fields["max_position_embeddings"],
        norm_epsilon=fields.get("rms_norm_eps", 1e-6),
        is_tied=bool(fields.get("tie_word_embeddings", False)),
        qkv_bias=family.qkv_bias or bias,
        out_bias=bias and not family.qkv_bias,
        mlp_bias=bool(fields.get("mlp_bias", False)),
        has_qk_norm=family.has_qk_norm,
        windows=_windows(fields, family),
        rope=_rope(fields),
    )


def _refuse_unknown(fields: dict[str, Any]) -> None:
    if fields.get("quantization_config"):
        raise Unsupported(
            "The model's weights are quantised.", hint="Use its float16, bfloat16 or float32 form."
        )
    if fields.get("hidden_act", "silu") != "silu":
        raise Unsupported(f"This engine does not know the activation '{fields['hidden_act']}'.")


def _windows(fields: dict[str, Any], family: Family) -> tuple[int | None, ...]:
    layers: int = fields["num_hidden_layers"]
    window = fields.get("sliding_window", family.sliding_window)
    if family.has_window_switch and not fields.get("use_sliding_window", False):
        window = None
    kinds = fields.get("layer_types")
    if kinds is None:
        first = fields.get("max_window_layers", 28) if family.has_window_switch else 0
        kinds = ["sliding_attention" if n >= first else "full_attention" for n in range(layers)]
    if len(kinds) != layers:
        raise InvalidInput(f"config.json has {layers} layers but {len(kinds)} layer_types.")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _rope(fields: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 writes `rope_parameters`; before, `rope_theta` stood beside `rope_scaling`."""
    rope = dict(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.pop("type", "default"))
    rope.setdefault("rope_theta", fields.get("rope_theta", 10000.0))
    rope.setdefault("original_max_position_embeddings", fields["max_position_embeddings"])
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise Unsupported("This engine does not know partial rotary embeddings.")
    return rope
