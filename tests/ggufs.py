"""GGUF files of the tiny models, as the ggml project's converter would write them.

Names come from the library's own table, so that they are not what the code under test believes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize
from safetensors.numpy import load_file

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "ministral3": "mistral3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
}


def make_gguf(path: Path, model: Path, kind: str = "F16", **fields: Any) -> Path:
    """Write `model` (see tests.models) as GGUF with matrices of a type such as F16 or Q8_0.

    `fields` are added, or left out where None; a name's double underscore stands for a point.
    """
    config = json.loads((model / "config.json").read_text("utf-8"))
    architecture = ARCHITECTURES[config["model_type"]]
    writer = GGUFWriter(path, architecture)
    _fields(writer, architecture, config)
    _vocabulary(writer, model)
    for name, value in fields.items():
        key = name.replace("__", ".")
        writer.kv_data[0].pop(key, None)
        if value is not None:
            _add(writer, key, value)
    for name, tensor in _tensors(architecture, config, load_file(model / "model.safetensors")):
        is_matrix = tensor.ndim > 1 and "ffn_gate_inp" not in name
        wanted = GGMLQuantizationType[kind if is_matrix else "F32"]
        writer.add_tensor(name, quantize(tensor, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, value)


def _fields(writer: GGUFWriter, architecture: str, config: dict[str, Any]) -> None:
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    found = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": hidden,
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "attention.sliding_window": None
        if config["model_type"] == "mistral"
        else config.get("sliding_window"),
        "attention.key_length": config.get("head_dim"),
        "expert_count": config.get("num_experts") or config.get("num_local_experts"),
        "expert_used_count": config.get("num_experts_per_tok"),
        "expert_feed_forward_length": config.get("moe_intermediate_size"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "rope.freq_base_swa": config.get("rope_local_base_freq"),
    }
    rope = config.get("rope_parameters") or {}
    found["rope.freq_base"] = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    scaling = config.get("rope_scaling") or rope
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind in ("linear", "yarn"):
        found |= {"rope.scaling.type": kind, "rope.scaling.factor": float(scaling["factor"])}
    if kind == "yarn":
        found |= {
            "rope.scaling.original_context_length": scaling["original_max_position_embeddings"],
            "rope.scaling.yarn_beta_fast": scaling["beta_fast"],
            "rope.scaling.yarn_beta_slow": scaling["beta_slow"],
            "rope.scaling.yarn_log_multiplier": scaling["mscale_all_dim"],
            "attention.temperature_scale": scaling["llama_4_scaling_beta"],
        }
    if architecture == "phi3":
        found["rope.scaling.original_context_length"] = config["original_max_position_embeddings"]
        head = config.get("head_dim") or hidden // heads
        found["rope.dimension_count"] = int(head * config.get("partial_rotary_factor", 1.0))
    for name, value in found.items():
        if value is not None:
            _add(writer, f"{architecture}.{name}", value)


def _vocabulary(writer: GGUFWriter, model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    ids = dict(tokenizer["model"]["vocab"])
    marks = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids | marks, key=(ids | marks).__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in marks else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(marks["<|im_end|>"])
    writer.add_pad_token_id(marks["<|endoftext|>"])
    writer.add_chat_template((model / "chat_template.jinja").read_text("utf-8"))


def _tensors(
    architecture: str, config: dict[str, Any], weights: dict[str, np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    names = get_tensor_name_map(MODEL_ARCH[architecture.upper()], config["num_hidden_layers"])
    experts: dict[str, list[np.ndarray]] = {}
    found = []
    for name, tensor in weights.items():
        stem, _, ending = name.rpartition(".")
        if architecture in ("llama", "mistral3") and stem.endswith(("q_proj", "k_proj")):
            side = "num_attention_heads" if stem.endswith("q_proj") else "num_key_value_heads"
            tensor = _in_pairs(tensor, config[side])
        if architecture.startswith("gemma") and stem.endswith("norm"):
            tensor = tensor + np.float32(1)
        if ".experts." in stem:
            before, _, after = stem.partition(".experts.")
            stem = f"{before}.experts.{after.partition('.')[2]}"
            if architecture == "llama":  # as the converter calls them on the way
                stem = stem.replace("model.", "").replace("block_sparse_moe", "feed_forward")
            experts.setdefault(f"{names.get_name(stem)}.{ending}", []).append(tensor)
            continue
        found.append((f"{names.get_name(stem)}.{ending}", tensor))
    found += [(name, np.stack(tensors)) for name, tensors in experts.items()]
    return found + _rope_factors(config)


def _in_pairs(tensor: np.ndarray, heads: int) -> np.ndarray:
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _rope_factors(config: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if "short_factor" in rope:
        return [
            (f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))
            for length in ("long", "short")
        ]
    if rope.get("rope_type") != "llama3":
        return []
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    factors = []
    for power in range(0, head, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (power / head)
        turns = rope["original_max_position_embeddings"] / wave
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - share) / factor + share))
    return [("rope_freqs.weight", np.array(factors, np.float32))]
