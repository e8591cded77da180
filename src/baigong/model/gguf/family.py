"""What `general.architecture` stands for, and the config.json that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from baigong.errors import InvalidInput, Unsupported
from baigong.model.gguf.file import File, floats

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FOUR_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_FUSED = {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
_QWEN_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj",
    "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
}
_MIXTRAL_EXPERTS = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.{}.w1",
    "ffn_up_exps": "block_sparse_moe.experts.{}.w3",
    "ffn_down_exps": "block_sparse_moe.experts.{}.w2",
}
# Frequencies are divided by these: Phi-3's two sets, and the one into which Llama 3's scaling is turned.
ROPE_FACTORS = {
    "rope_freqs.weight": ("short_factor", "long_factor"),
    "rope_factors_short.weight": ("short_factor",),
    "rope_factors_long.weight": ("long_factor",),
}
_YARN = {
    "rope.scaling.yarn_attn_factor": "attention_factor",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
    "rope.scaling.yarn_log_multiplier": "mscale_all_dim",
    "attention.temperature_scale": "llama_4_scaling_beta",
}


@dataclass(frozen=True, slots=True)
class Family:
    """How a GGUF file differs from a checkpoint of transformers.

    Attributes:
        tensors: what a layer's tensors are called there, beyond those of _LAYER.
        is_turned: rows of q and k lie in pairs that turn together, not in halves.
        norm_offset: what the file adds to the norms.
        full_every: of layers with a window every so many looks back without one; 0 is none.
        wide: the number of layers of the one size whose queries are scaled by more than a head.
    """

    model_type: str
    name: str
    tensors: dict[str, str] = field(default_factory=dict)
    is_turned: bool = False
    norm_offset: float = 0.0
    full_every: int = 0
    wide: int = 0

    def name_of(self, tensor: str) -> str | None:
        """What a layer's tensor is called in a checkpoint."""
        return (_LAYER | self.tensors).get(tensor)


_FAMILIES = {
    "llama": Family("llama", "LlamaForCausalLM", is_turned=True),
    "mistral3": Family("ministral3", "Ministral3ForCausalLM", is_turned=True),
    "qwen2": Family("qwen2", "Qwen2ForCausalLM"),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM"),
    "qwen3moe": Family("qwen3_moe", "Qwen3MoeForCausalLM", _QWEN_EXPERTS),
    "gemma": Family("gemma", "GemmaForCausalLM", norm_offset=1.0),
    "gemma2": Family(
        "gemma2", "Gemma2ForCausalLM", _FOUR_NORMS, norm_offset=1.0, full_every=2, wide=46
    ),
    "gemma3": Family(
        "gemma3_text", "Gemma3ForCausalLM", _FOUR_NORMS, norm_offset=1.0, full_every=6, wide=62
    ),
    "phi3": Family("phi3", "Phi3ForCausalLM", _FUSED),
}
# Files that share another's name.
_MISTRAL = Family("mistral", "MistralForCausalLM", is_turned=True)
_MIXTRAL = Family("mixtral", "MixtralForCausalLM", _MIXTRAL_EXPERTS, is_turned=True)


def family_of(file: File) -> Family:
    """The family of a file.

    Raises:
        Unsupported: it is none of those that are served, or no model that writes.
    """
    kind = file.fields.get("general.type", "model")
    if kind != "model" or file.get("attention.causal") is False:
        raise Unsupported(
            f"{file.name} is no model that writes text.", hint="Only those are read from GGUF."
        )
    family = _FAMILIES.get(file.architecture)
    if family is None:
        raise Unsupported(
            f"{file.name} is of the architecture '{file.architecture}', which is not read from GGUF.",
            hint=f"{', '.join(_FAMILIES)} are. Or pull the model's safetensors.",
        )
    if file.architecture == "llama" and file.get("expert_count"):
        return _MIXTRAL
    if file.architecture == "mistral3" and not file.get("attention.temperature_scale"):
        return _MISTRAL
    return family


def config_of(file: File, family: Family) -> dict[str, Any]:
    """The fields of config.json but for the tokenizer's.

    Raises:
        InvalidInput: the file lacks a field.
        Unsupported: it has layers of different sizes, or an unknown rope scaling.
    """
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise InvalidInput(f"{file.name} holds no model.", hint="Is it a vocabulary alone?")
    hidden, heads = file.need("embedding_length"), file.need("attention.head_count")
    config = {
        "architectures": [family.name],
        "model_type": family.model_type,
        "vocab_size": int(embedding.shape[1]),
        "hidden_size": hidden,
        "intermediate_size": file.need("feed_forward_length"),
        "num_hidden_layers": file.need("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.get("attention.head_count_kv") or heads,
        "head_dim": file.get("attention.key_length") or hidden // heads,
        "max_position_embeddings": file.need("context_length"),
        "rms_norm_eps": file.need("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "hidden_act": "silu",
        "dtype": "bfloat16",
    }
    if family.model_type != "qwen2":  # which always has them
        config["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    config["rope_parameters"] = _rope(file, config["head_dim"])
    if family.norm_offset:
        config |= _gemma(file, family, config)
    if family.model_type in ("mistral", "ministral3", "mixtral"):
        config["sliding_window"] = None  # left out, it would be 4096
    if family.model_type == "phi3":
        # 0 stands for none.
        config["sliding_window"] = file.get("attention.sliding_window") or None
        config["original_max_position_embeddings"] = file.get(
            "rope.scaling.original_context_length", config["max_position_embeddings"]
        )
    return config | _experts(file, family)


def _rope(file: File, head_dim: int) -> dict[str, Any]:
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": file.get("rope.freq_base", 10000.0),
    }
    if (turning := file.get("rope.dimension_count", head_dim)) != head_dim:
        rope["partial_rotary_factor"] = turning / head_dim
    factors = {
        key: floats(file.tensors[name]).tolist()
        for name, keys in ROPE_FACTORS.items()
        if name in file.tensors
        for key in keys
    }
    scaling = file.get("rope.scaling.type", "none")
    context = file.need("context_length")
    original = file.get("rope.scaling.original_context_length", context)
    if factors:
        rope |= {"rope_type": "longrope", "factor": context / original, **factors}
        return rope | {"original_max_position_embeddings": original}
    if scaling in ("linear", "yarn"):
        rope |= {"rope_type": scaling, "factor": file.need("rope.scaling.factor")}
    elif scaling != "none":
        raise Unsupported(f"{file.name} has the rope scaling '{scaling}', which is not known.")
    if scaling == "yarn":
        found = {new: file.get(old) for old, new in _YARN.items()}
        rope |= {name: value for name, value in found.items() if value is not None}
        rope["original_max_position_embeddings"] = original
        if "mscale_all_dim" in rope:
            rope["mscale"] = 1.0
    return rope


def _gemma(file: File, family: Family, config: dict[str, Any]) -> dict[str, Any]:
    """What the file leaves to whoever knows the family."""
    layers, rope = config["num_hidden_layers"], config["rope_parameters"]
    fields: dict[str, Any] = dict.fromkeys(("hidden_act", "hidden_activation"), "gelu_pytorch_tanh")
    if not family.full_every:
        return fields
    is_wide = layers == family.wide
    a_head = config["hidden_size"] // config["num_attention_heads"]
    fields["query_pre_attn_scalar"] = a_head if is_wide else config["head_dim"]
    fields["attn_logit_softcapping"] = file.get("attn_logit_softcapping")
    fields["final_logit_softcapping"] = file.get("final_logit_softcapping")
    window, every = file.get("attention.sliding_window"), family.full_every
    fields["sliding_window"] = window
    fields["layer_types"] = [
        "sliding_attention" if window and (n + 1) % every else "full_attention"
        for n in range(layers)
    ]
    if family.model_type == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": file.get("rope.freq_base_swa", 10000.0)}
        fields["rope_parameters"] = {"full_attention": rope, "sliding_attention": local}
    return fields


def _experts(file: File, family: Family) -> dict[str, Any]:
    if family is _MIXTRAL:
        own = {"num_local_experts": file.need("expert_count")}
    elif family.model_type == "qwen3_moe":
        own = {
            "num_experts": file.need("expert_count"),
            "moe_intermediate_size": file.need("expert_feed_forward_length"),
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    else:
        return {}
    return own | {"num_experts_per_tok": file.need("expert_used_count")}
