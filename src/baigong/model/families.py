"""What each family of decoders means beyond its config.json."""

from __future__ import annotations

from typing import Any

import msgspec


class Family(msgspec.Struct, frozen=True):
    """What one `model_type` means beyond its config.json.

    Attributes:
        qkv_bias: always, whatever `attention_bias` says.
        has_window_switch: `sliding_window` counts only with `use_sliding_window`.
        full_every: of layers with a window every so many looks back without one; 0 is none.
        is_fused: the checkpoint holds q, k, v in one matrix, and gate and up in another.
        norm_offset: what its norms' weights lack.
        has_post_norms: what attention and MLP add is normalised too.
        scales_embedding: by the root of the hidden size.
        activation: what "gelu" means in old config.json files of this family.
        experts: names of the router, and of an expert's gate, up and down, in the checkpoint.
        defaults: fields that its config.json may leave out.
    """

    qkv_bias: bool = False
    has_qk_norm: bool = False
    has_window_switch: bool = False
    full_every: int = 0
    is_fused: bool = False
    norm_offset: float = 0.0
    has_post_norms: bool = False
    scales_embedding: bool = False
    activation: str = "gelu"
    experts: tuple[str, str, str, str] | None = None
    defaults: dict[str, Any] = {}


_GEMMA = {
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_GEMMA2 = {
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
# The larger Gemma 3 models name only what differs from these.
_GEMMA3 = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}

# One decoder serves all of these; a new one that differs in these points only is a row.
FAMILIES = {
    "llama": Family(),
    "mistral": Family(defaults={"sliding_window": 4096}),
    "ministral": Family(defaults={"sliding_window": 4096}),
    "ministral3": Family(defaults={"head_dim": 128, "rms_norm_eps": 1e-5}),
    "mixtral": Family(
        experts=(
            "block_sparse_moe.gate",
            "block_sparse_moe.experts.{}.w1",
            "block_sparse_moe.experts.{}.w3",
            "block_sparse_moe.experts.{}.w2",
        ),
        defaults={
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
    ),
    "qwen2": Family(qkv_bias=True, has_window_switch=True),
    "qwen3": Family(has_qk_norm=True, has_window_switch=True, defaults={"head_dim": 128}),
    "qwen3_moe": Family(
        has_qk_norm=True,
        has_window_switch=True,
        experts=(
            "mlp.gate",
            "mlp.experts.{}.gate_proj",
            "mlp.experts.{}.up_proj",
            "mlp.experts.{}.down_proj",
        ),
        defaults={"max_window_layers": 0},
    ),
    "gemma": Family(
        norm_offset=1.0, scales_embedding=True, activation="gelu_pytorch_tanh", defaults=_GEMMA
    ),
    "gemma2": Family(
        norm_offset=1.0,
        scales_embedding=True,
        has_post_norms=True,
        full_every=2,
        defaults=_GEMMA | _GEMMA2,
    ),
    "gemma3_text": Family(
        norm_offset=1.0,
        scales_embedding=True,
        has_post_norms=True,
        has_qk_norm=True,
        full_every=6,
        defaults=_GEMMA | _GEMMA3,
    ),
    "phi3": Family(is_fused=True, defaults={"rms_norm_eps": 1e-5}),
}

# Models that see as well; their `text_config` says what the part is that reads and writes.
WRAPPERS = ("gemma3", "mistral3")
