"""Tiny random-weight models, tokenizers and adapters, written as Hugging Face folders in milliseconds.

No torch and no transformers: numpy makes the tensors, so that any test may use this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 256 + len(SPECIALS)
END = VOCABULARY - 1  # <|im_end|>

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}
{{- message.content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "head_dim": 32,
        "tie_word_embeddings": True,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "rope_theta": 10000.0,
        "sliding_window": 16,
    },
    "ministral": {
        "architectures": ["MinistralForCausalLM"],
        "head_dim": 32,
        "rope_theta": 10000.0,
        "sliding_window": 16,
        "layer_types": ["full_attention", "sliding_attention"],
    },
    "ministral3": {
        "architectures": ["Ministral3ForCausalLM"],
        "head_dim": 32,
        "rope_parameters": {
            "type": "yarn",
            "rope_theta": 10000.0,
            "factor": 16.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale_all_dim": 1.0,
            "mscale": 1.0,
            "llama_4_scaling_beta": 0.5,
        },
    },
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "qwen3_moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "head_dim": 32,
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    "gemma": {
        "architectures": ["GemmaForCausalLM"],
        "hidden_act": "gelu",
        "hidden_activation": None,
        "head_dim": 32,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
    },
    "gemma2": {
        "architectures": ["Gemma2ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": 32,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 10.0,
        "sliding_window": 16,
        "tie_word_embeddings": True,
    },
    "gemma3_text": {
        "architectures": ["Gemma3ForCausalLM"],
        "hidden_activation": "gelu_pytorch_tanh",
        "head_dim": 32,
        "query_pre_attn_scalar": 24,
        "sliding_window": 16,
        "sliding_window_pattern": 2,
        "rope_theta": 100000.0,
        "rope_local_base_freq": 1000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "tie_word_embeddings": True,
    },
    "phi3": {
        "architectures": ["Phi3ForCausalLM"],
        "head_dim": 16,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "original_max_position_embeddings": 512,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [1.5, 2.5, 4.0, 8.0],
        },
        "sliding_window": 30,
    },
}


def make_model(
    folder: Path, kind: str = "llama", *, seed: int = 0, shards: int = 1, **config: Any
) -> Path:
    """Write a whole model folder: config, float32 weights, tokenizer and chat template.

    Args:
        folder: made if absent.
        kind: a key of ARCHITECTURES.
        seed: of the random weights.
        shards: more than one writes `model.safetensors.index.json` and that many files.
        **config: fields of config.json to add or replace, e.g. `num_hidden_layers=4`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "model_type": kind,
        "hidden_act": "silu",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "pad_token_id": None,
        "eos_token_id": END,
        "dtype": "float32",
        **ARCHITECTURES[kind],
        **config,
    }
    _write_json(folder / "config.json", fields)
    _write_json(folder / "generation_config.json", {"eos_token_id": fields["eos_token_id"]})
    make_tokenizer(folder)
    _save(folder, _weights(fields, np.random.default_rng(seed)), shards)
    return folder


def make_counter(folder: Path, kind: str = "llama", **config: Any) -> Path:
    """Write a model that counts: after an id comes the next one, hardly touched by what stood before."""
    make_model(folder, kind, tie_word_embeddings=False, **config)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name] *= 0.05
    embedding = tensors["model.embed_tokens.weight"]
    units = embedding / np.linalg.norm(embedding, axis=-1, keepdims=True)
    embedding[:] = units * embedding.shape[1] ** 0.5
    tensors["model.norm.weight"][:] = 1
    tensors["lm_head.weight"] = np.roll(units, 1, 0)
    _save(folder, tensors, 1)
    return folder


def wrap_model(folder: Path, kind: str = "mistral3") -> Path:
    """Turn a model into one that can see as well: other names, a `text_config`, and a tower."""
    tensors = load_file(folder / "model.safetensors")
    named = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    layer = "vision_tower.encoder.layers.0.self_attn.q_proj.weight"
    save_file(named | {layer: np.zeros((32, 32), np.float32)}, folder / "model.safetensors")
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    tied = fields["tie_word_embeddings"]
    _write_json(
        folder / "config.json",
        {"model_type": kind, "text_config": fields, "tie_word_embeddings": tied},
    )
    return folder


def make_tokenizer(folder: Path) -> Path:
    """Write a tokenizer with one token per byte, and a ChatML template with generation marks."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIALS[2],
        "pad_token": SPECIALS[0],
        "model_max_length": 512,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(CHATML, "utf-8")
    return folder


def make_adapter(
    folder: Path,
    model: Path,
    *,
    rank: int = 4,
    seed: int = 1,
    scale: float = 2.0,
    targets: tuple[str, ...] = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
    **config: Any,
) -> Path:
    """Write a LoRA adapter for `model` in PEFT's format, with B random so that it changes answers."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = json.loads((model / "config.json").read_text("utf-8"))
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in _shapes(fields).items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] not in targets or len(shape) != 2:
            continue
        stem = f"base_model.model.{module}"
        tensors[f"{stem}.lora_A.weight"] = _normal(random, (rank, shape[1]), shape[1] ** -0.5)
        tensors[f"{stem}.lora_B.weight"] = _normal(random, (shape[0], rank), rank**-0.5)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "r": rank,
        "lora_alpha": scale * rank,
        "target_modules": list(targets),
        "bias": "none",
        **config,
    }
    _write_json(folder / "adapter_config.json", settings)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor's name and shape, as transformers names them."""
    hidden, kind = config["hidden_size"], config["model_type"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        attention = f"{layer}.self_attn"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        if kind in ("gemma2", "gemma3_text"):
            shapes[f"{layer}.pre_feedforward_layernorm.weight"] = (hidden,)
            shapes[f"{layer}.post_feedforward_layernorm.weight"] = (hidden,)
        if kind == "phi3":
            shapes[f"{attention}.qkv_proj.weight"] = (wide + 2 * narrow, hidden)
        else:
            for name, size in (("q", wide), ("k", narrow), ("v", narrow)):
                shapes[f"{attention}.{name}_proj.weight"] = (size, hidden)
                if kind == "qwen2":
                    shapes[f"{attention}.{name}_proj.bias"] = (size,)
                if kind in ("qwen3", "qwen3_moe", "gemma3_text") and name != "v":
                    shapes[f"{attention}.{name}_norm.weight"] = (head,)
        shapes[f"{attention}.o_proj.weight"] = (hidden, wide)
        shapes |= _mlp_shapes(config, number)
    return shapes


def _mlp_shapes(config: dict[str, Any], number: int) -> dict[str, tuple[int, ...]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    mlp, names = f"model.layers.{number}.mlp", ("gate_proj", "up_proj", "down_proj")
    experts = config.get("num_local_experts") or config.get("num_experts") or 0
    if experts and number not in config.get("mlp_only_layers", []):
        if config["model_type"] == "mixtral":
            mlp, names = mlp.replace("mlp", "block_sparse_moe"), ("w1", "w3", "w2")
        inner = config.get("moe_intermediate_size", inner)
        shapes = {f"{mlp}.gate.weight": (experts, hidden)}
        mlps = [f"{mlp}.experts.{expert}" for expert in range(experts)]
    elif config["model_type"] == "phi3":
        return {
            f"{mlp}.gate_up_proj.weight": (2 * inner, hidden),
            f"{mlp}.down_proj.weight": (hidden, inner),
        }
    else:
        shapes, mlps = {}, [mlp]
    gate, up, down = names
    for one in mlps:
        shapes[f"{one}.{gate}.weight"] = (inner, hidden)
        shapes[f"{one}.{up}.weight"] = (inner, hidden)
        shapes[f"{one}.{down}.weight"] = (hidden, inner)
    return shapes


def _weights(config: dict[str, Any], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Random weights large enough that answers differ and that no two logits are nearly equal."""
    weights = {}
    for name, shape in _shapes(config).items():
        if name.endswith("norm.weight"):
            whole = 0 if config["model_type"].startswith("gemma") else 1  # Gemma leaves one out
            weights[name] = whole + _normal(random, shape, 0.1)
        elif name.endswith(".bias") or "embed_tokens" in name:
            weights[name] = _normal(random, shape, 0.5)
        else:
            weights[name] = _normal(random, shape, 1.5 * shape[-1] ** -0.5)
    return weights


def _normal(random: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    return (random.standard_normal(shape) * deviation).astype(np.float32)


def _save(folder: Path, tensors: dict[str, np.ndarray], shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, places = list(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        mine = names[shard::shards]
        save_file({n: tensors[n] for n in mine}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(mine, file)
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), "utf-8")
