"""Qwen3 models and their LoRA adapters in llama.cpp's format, just enough of it for a benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants
from safetensors import safe_open

TEXT, CONTROL = 1, 3

PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOPS = {"embed_tokens": "token_embd", "norm": "output_norm"}


def write_model(model: Path, to: Path) -> None:
    """The model in bfloat16, with its tokens named rather than told: only ids are ever exchanged."""
    config = json.loads((model / "config.json").read_text("utf-8"))
    writer = GGUFWriter(to, "qwen3")
    writer.add_file_type(LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    _add_tokenizer(writer, config["vocab_size"])
    for name, tensor in _tensors(model / "model.safetensors"):
        _add(writer, _renamed(name), tensor)
    _write(writer)


def write_adapter(adapter: Path, to: Path) -> None:
    """A PEFT adapter in float32."""
    config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    writer = GGUFWriter(to, "qwen3")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", config["lora_alpha"])
    for name, tensor in _tensors(adapter / "adapter_model.safetensors"):
        stem, half, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        writer.add_tensor(f"{_renamed(stem + '.weight')}.{half.lower()}", tensor)
    _write(writer)


def _renamed(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight is blk.3.ffn_up.weight there."""
    stem, _, kind = name.removeprefix("model.").rpartition(".")
    if stem.startswith("layers."):
        _, layer, part = stem.split(".", 2)
        return f"blk.{layer}.{PARTS[part]}.{kind}"
    return f"{TOPS[stem]}.{kind}"


def _add(writer: GGUFWriter, name: str, tensor: np.ndarray[Any, Any]) -> None:
    if tensor.ndim == 1:
        writer.add_tensor(name, tensor)
        return
    kind = GGMLQuantizationType.BF16
    writer.add_tensor(name, quants.quantize(tensor, kind), raw_dtype=kind)


def _add_tokenizer(writer: GGUFWriter, vocabulary: int) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{number}" for number in range(vocabulary)])
    writer.add_token_types([TEXT] * (vocabulary - 1) + [CONTROL])
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(vocabulary - 1)
    writer.add_add_bos_token(False)


def _tensors(path: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    with safe_open(path, "numpy") as file:
        for name in file.keys():
            yield name, file.get_tensor(name)


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
