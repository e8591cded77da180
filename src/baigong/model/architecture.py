"""The shape of a model, read from its config.json in any of the forms that are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput, Unsupported
from baigong.model.families import FAMILIES, WRAPPERS, Family
from baigong.model.vectors import Vectors

ACTIVATIONS = ("silu", "gelu_pytorch_tanh")


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of any model: `context` and `vocabulary` in tokens."""

    architecture: str
    vocabulary: int
    hidden_size: int
    layers: int
    context: int


class Shape(Sizes, frozen=True, kw_only=True):
    """What there is to know of any model of attention and MLPs.

    `is_tied`: its output head is its embedding.
    """

    inner_size: int
    heads: int
    kv_heads: int
    head_dim: int
    is_tied: bool


class ExpertConfig(msgspec.Struct, frozen=True):
    """The MLPs of which a router chooses `chosen` for each token.

    Attributes:
        names: of the router, and of an expert's gate, up and down, in the checkpoint.
        layers: those that have experts; the others have one MLP as usual.
        is_normalised: the shares of the chosen sum to one.
    """

    names: tuple[str, str, str, str]
    layers: frozenset[int]
    count: int
    chosen: int
    inner_size: int
    is_normalised: bool


class ModelConfig(Shape, frozen=True, kw_only=True):
    """Sizes and switches of a decoder.

    Attributes:
        windows: for each layer, how far back it looks.
        rope: rotary embeddings, as transformers names their fields.
        local_rope: those of layers with a window, where they have their own.
        attention_scale: of queries with keys; None is the root of 1 / head_dim.
        attention_softcap: `cap * tanh(x / cap)` of those products; None leaves them.
        logit_softcap: the same of logits.
        norm_offset: what the norms' weights in the checkpoint lack.
        has_post_norms: what attention and MLP add is normalised too.
        embedding_scale: of embeddings, before the first layer.
        is_fused: the checkpoint holds q, k, v in one matrix, and gate and up in another.
        vectors: how a text's vector is made.
    """

    norm_epsilon: float
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    has_qk_norm: bool
    windows: tuple[int | None, ...]
    rope: dict[str, Any]
    local_rope: dict[str, Any] | None = None
    activation: str = "silu"
    attention_scale: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    norm_offset: float = 0.0
    has_post_norms: bool = False
    embedding_scale: float = 1.0
    is_fused: bool = False
    experts: ExpertConfig | None = None
    vectors: Vectors = Vectors()

    @property
    def is_ordinary(self) -> bool:
        """Whether it does nothing that Llama, Mistral, Qwen2 and Qwen3 do not."""
        extras = (
            self.local_rope,
            self.attention_scale,
            self.attention_softcap,
            self.logit_softcap,
            self.experts,
            self.norm_offset,
            self.has_post_norms,
            self.is_fused,
            self.rope.get("llama_4_scaling_beta"),
        )
        return (
            not any(extras)
            and (self.activation, self.embedding_scale) == ("silu", 1.0)
            and rotary_size(self.rope, self.head_dim) == self.head_dim
        )

    @property
    def is_packable(self) -> bool:
        """Whether the native forward pass knows such a model, and can pack its matrices.

        Weights are packed in groups of 64 and lanes of 16.
        """
        sizes = (self.hidden_size, self.inner_size, self.heads * self.head_dim)
        return (
            self.is_ordinary
            and not any(size % 64 for size in sizes)
            and self.head_dim % 16 == 0
            and self.head_dim <= 256
        )

    @classmethod
    def read(cls, folder: Path) -> ModelConfig:
        """Read `folder/config.json`.

        Raises:
            Unsupported: an architecture or a setting that this engine cannot do.
            InvalidInput: the file is missing, broken or contradicts itself.
        """
        config = cls.of(read_fields(folder), folder.name)
        return msgspec.structs.replace(config, vectors=Vectors.read(folder))

    @classmethod
    def of(cls, fields: dict[str, Any], where: str) -> ModelConfig:
        """What the fields of the config.json of the model `where` mean.

        Raises:
            Unsupported, InvalidInput: as `read`.
        """
        try:
            return _from_fields(fields)
        except KeyError as error:
            raise InvalidInput(f"{where}/config.json lacks {error}.") from error
        except (TypeError, AttributeError, ZeroDivisionError) as error:
            raise InvalidInput(f"{where}/config.json holds something odd: {error}") from error


def read_fields(folder: Path) -> dict[str, Any]:
    """What `folder/config.json` holds.

    Raises:
        InvalidInput: the file is missing or broken.
    """
    try:
        return parse_fields((folder / "config.json").read_bytes(), folder.name)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{folder.name} has no config.json.", hint="Is it a Hugging Face model folder?"
        ) from error


def parse_fields(data: bytes, where: str) -> dict[str, Any]:
    """The fields of the config.json of the model `where`.

    Raises:
        InvalidInput: it is broken.
    """
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise InvalidInput(f"{where}/config.json is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidInput(f"{where}/config.json is not an object.")
    return fields


def read_shape(folder: Path) -> Shape:
    """See shape_of."""
    return shape_of(read_fields(folder), folder.name)


def shape_of(fields: dict[str, Any], where: str) -> Shape:
    """The sizes of any model, from the fields of its config.json.

    They are exact for those that `decoder.py` serves. For the others they are what the fields say by
    the names that are about, and `context` is 2048 where none is named.

    Raises:
        Unsupported, InvalidInput: as ModelConfig.read.
    """
    if is_own(fields):
        return ModelConfig.of(fields, where)
    found = fields.get("text_config") or fields
    family = FAMILIES.get(found.get("model_type", ""))
    found = found if family is None else family.defaults | found
    hidden, layers = _first(found, _HIDDEN, where), _first(found, _LAYERS, where)
    heads = _first(found, _HEADS, where, 1)
    return Shape(
        architecture=str(found.get("model_type", "?")),
        vocabulary=int(found.get("vocab_size") or 0),
        hidden_size=hidden,
        layers=layers,
        context=_first(found, _CONTEXT, where, 2048),
        inner_size=_first(found, _INNER, where, 4 * hidden),
        heads=heads,
        kv_heads=int(found.get("num_key_value_heads") or heads),
        head_dim=int(found.get("head_dim") or hidden // heads),
        is_tied=bool(fields.get("tie_word_embeddings", found.get("tie_word_embeddings", True))),
    )


# What the sizes of a model are called by one maker or another.
_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim", "d_ff")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def _first(
    fields: dict[str, Any], names: tuple[str, ...], where: str, default: int | None = None
) -> int:
    numbers = (fields.get(name) for name in names)
    found = next((n for n in numbers if isinstance(n, int) and n > 0), default)
    if found is None:
        raise InvalidInput(f"{where}/config.json lacks {names[0]}.")
    return found


def decoder_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that describes the decoder."""
    if fields.get("model_type") not in WRAPPERS:
        return fields
    inner: dict[str, Any] = fields["text_config"]
    if fields.get("tie_word_embeddings") is None:
        return inner
    return inner | {"tie_word_embeddings": fields["tie_word_embeddings"]}


def plain_name(name: str) -> str:
    """What a tensor of a decoder is called in a checkpoint that is a decoder with a head.

    A part of a model that can see as well is called otherwise, and so is one saved without a head.
    """
    for part in ("model.language_model.", "language_model.model."):
        if name.startswith(part):
            return f"model.{name.removeprefix(part)}"
    if name.startswith(("layers.", "embed_tokens.", "norm.")):
        return f"model.{name}"
    return name.removeprefix("language_model.")


def is_own(fields: dict[str, Any]) -> bool:
    """Whether `decoder.py` serves a model of this config.json; transformers serves the others."""
    architecture = architecture_of(fields)
    if fields.get("model_type") in WRAPPERS:
        return decoder_fields(fields).get("model_type") in FAMILIES
    if looks_ahead(fields) or "Classification" in architecture:
        return False
    return fields.get("model_type") in FAMILIES


def looks_ahead(fields: dict[str, Any]) -> bool:
    """Whether a decoder was made to see a text as a whole, and so to make vectors of it."""
    return bool(fields.get("use_bidirectional_attention")) or fields.get("is_causal") is False


def architecture_of(fields: dict[str, Any]) -> str:
    """Its class in transformers; empty where config.json names none."""
    return str((fields.get("architectures") or [""])[0])


def rotary_size(rope: dict[str, Any], head_dim: int) -> int:
    """How many of a head's dimensions turn with the position."""
    return int(head_dim * (rope.get("partial_rotary_factor") or 1.0))


def _from_fields(fields: dict[str, Any]) -> ModelConfig:
    is_quantised = bool(fields.get("quantization_config"))
    fields = decoder_fields(fields)
    kind = fields.get("model_type", "?")
    family = FAMILIES.get(kind)
    if family is None:
        raise Unsupported(
            f"This engine does not know the architecture '{kind}'.",
            hint=f"It serves {', '.join(FAMILIES)}.",
        )
    fields = family.defaults | fields
    _refuse_unknown(fields, is_quantised)
    heads = fields["num_attention_heads"]
    head_dim = fields.get("head_dim") or fields["hidden_size"] // heads
    bias = bool(fields.get("attention_bias", False))
    asked = fields.get("query_pre_attn_scalar")
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
        local_rope=_local_rope(fields),
        activation=_activation(fields, family),
        attention_scale=None if asked is None else float(asked) ** -0.5,
        attention_softcap=fields.get("attn_logit_softcapping"),
        logit_softcap=fields.get("final_logit_softcapping"),
        norm_offset=family.norm_offset,
        has_post_norms=family.has_post_norms,
        embedding_scale=fields["hidden_size"] ** 0.5 if family.scales_embedding else 1.0,
        is_fused=family.is_fused,
        experts=_experts(fields, family),
    )


def _refuse_unknown(fields: dict[str, Any], is_quantised: bool) -> None:
    if is_quantised or fields.get("quantization_config"):
        raise Unsupported(
            "The model's weights are quantised.", hint="Use its float16, bfloat16 or float32 form."
        )
    if looks_ahead(fields):
        raise Unsupported("The model looks ahead in its text, so that it cannot write any.")


def _activation(fields: dict[str, Any], family: Family) -> str:
    name: str = fields.get("hidden_activation") or fields.get("hidden_act") or "silu"
    name = family.activation if name == "gelu" else name
    if name not in ACTIVATIONS:
        raise Unsupported(f"This engine does not know the activation '{name}'.")
    return name


def _experts(fields: dict[str, Any], family: Family) -> ExpertConfig | None:
    """The fields of Qwen3-MoE and of Mixtral, whose every layer has experts."""
    if family.experts is None:
        return None
    every, plain = fields.get("decoder_sparse_step", 1), fields.get("mlp_only_layers") or []
    layers = range(fields["num_hidden_layers"])
    return ExpertConfig(
        names=family.experts,
        layers=frozenset(n for n in layers if n not in plain and (n + 1) % every == 0),
        count=fields.get("num_experts") or fields["num_local_experts"],
        chosen=fields["num_experts_per_tok"],
        inner_size=fields.get("moe_intermediate_size") or fields["intermediate_size"],
        is_normalised=bool(fields.get("norm_topk_prob", False)),
    )


def _windows(fields: dict[str, Any], family: Family) -> tuple[int | None, ...]:
    layers: int = fields["num_hidden_layers"]
    window = fields.get("sliding_window")
    if family.has_window_switch and not fields.get("use_sliding_window", False):
        window = None
    kinds = fields.get("layer_types")
    if kinds is None:
        every = fields.get("sliding_window_pattern") or family.full_every or layers + 1
        first = fields.get("max_window_layers", 28) if family.has_window_switch else 0
        kinds = [
            "sliding_attention" if n >= first and (n + 1) % every else "full_attention"
            for n in range(layers)
        ]
    if len(kinds) != layers:
        raise InvalidInput(f"config.json has {layers} layers but {len(kinds)} layer_types.")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _rope(fields: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 writes `rope_parameters`; before, `rope_theta` stood beside `rope_scaling`."""
    rope = dict(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    rope = dict(rope.get("full_attention") or rope)
    rope.setdefault("rope_type", rope.pop("type", "default"))
    rope.setdefault("rope_theta", fields.get("rope_theta", 10000.0))
    original = fields.get("original_max_position_embeddings") or fields["max_position_embeddings"]
    rope.setdefault("original_max_position_embeddings", original)
    rope.setdefault("partial_rotary_factor", fields.get("partial_rotary_factor", 1.0))
    if rope["rope_type"] in ("su", "longrope") or fields["model_type"] == "phi3":
        stretched = fields["max_position_embeddings"] / rope["original_max_position_embeddings"]
        rope.setdefault("factor", stretched)
    if rope["rope_type"] == "su" or (fields["model_type"], rope["rope_type"]) == ("phi3", "yarn"):
        rope["rope_type"] = "longrope"  # what Phi-3 called it first
    return rope


def _local_rope(fields: dict[str, Any]) -> dict[str, Any] | None:
    """That of layers with a window, in either form."""
    if "rope_local_base_freq" not in fields:
        return None
    local = (fields.get("rope_parameters") or {}).get("sliding_attention") or {}
    return {"rope_type": "default", "rope_theta": fields["rope_local_base_freq"]} | local
