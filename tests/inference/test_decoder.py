"""Our decoder beside transformers', on random weights of every architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.attention import SelfAttention
from baigong.inference.engine.cache import ArenaCache, Chunk
from baigong.inference.engine.decoder import Decoder
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ModelConfig
from tests.models import make_model

CPU = torch.device("cpu")
PROMPT = [7 * i % 256 for i in range(40)]  # longer than Mistral's window of 16

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 4.0}}),
    ("llama", {"attention_bias": False, "tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("qwen2", {}),
    ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    (
        "qwen3",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    ("qwen3", {}),
    ("mistral", {}),
    ("mistral", {"sliding_window": None, "head_dim": 32}),
    ("ministral", {}),
    ("ministral3", {}),
    ("mixtral", {}),
    ("qwen3_moe", {}),
    ("qwen3_moe", {"norm_topk_prob": False, "mlp_only_layers": [0]}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma3_text", {}),
    (
        "gemma3_text",
        {
            "rope_theta": None,
            "rope_local_base_freq": None,
            "rope_scaling": None,
            "sliding_window_pattern": None,
            "layer_types": ["full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
    ),
    ("phi3", {"rope_scaling": None}),
    ("phi3", {}),
    ("phi3", {"original_max_position_embeddings": 32, "sliding_window": None}),
]


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    return Decoder(ModelConfig.read(folder), Weights(folder), dtype, CPU)


def reference(folder: Path, ids: list[int]) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0]


def whole(decoder: Decoder, ids: list[int]) -> torch.Tensor:
    attend = SelfAttention(decoder.config, [len(ids)], decoder.dtype, CPU)
    with torch.inference_mode():
        row = torch.tensor(ids)
        return decoder.logits(decoder.hidden(row, torch.arange(len(ids)), attend))


def in_chunks(decoder: Decoder, ids: list[int], sizes: list[int]) -> torch.Tensor:
    """The same through the cache, so many tokens at a time."""
    cache = ArenaCache(decoder.config, 256, decoder.dtype, CPU)
    other = cache.reserve(10)
    extent = cache.reserve(len(ids))
    assert other is not None
    assert extent is not None
    logits, past = [], 0
    with torch.inference_mode():
        for size in sizes:
            attend = cache.plan([Chunk(extent, past, size)])
            row, positions = torch.tensor(ids[past : past + size]), torch.arange(past, past + size)
            logits.append(decoder.logits(decoder.hidden(row, positions, attend)))
            past += size
    return torch.cat(logits)


@pytest.mark.parametrize(("kind", "config"), VARIANTS)
def test_logits_equal_transformers(tmp_path: Path, kind: str, config: dict[str, Any]) -> None:
    make_model(tmp_path / "m", kind, **config)
    expected = reference(tmp_path / "m", PROMPT)
    decoder = load(tmp_path / "m")
    torch.testing.assert_close(whole(decoder, PROMPT), expected, rtol=1e-4, atol=1e-4)
    chunked = in_chunks(decoder, PROMPT, [11, 1, 1, 20, 3, 1, 1, 1, 1])
    torch.testing.assert_close(chunked, expected, rtol=1e-4, atol=1e-4)


def test_sharded_weights_are_the_same_model(tmp_path: Path) -> None:
    one = load(make_model(tmp_path / "one", "qwen3"))
    many = load(make_model(tmp_path / "many", "qwen3", shards=3))
    assert torch.equal(whole(one, PROMPT), whole(many, PROMPT))


# A router's close call may fall the other way, and then that token takes another path.
@pytest.mark.parametrize(
    ("kind", "share"),
    [("qwen3", 1.0), ("gemma2", 1.0), ("gemma3_text", 1.0), ("phi3", 1.0), ("qwen3_moe", 0.6)],
)
def test_bfloat16_is_near_float32(tmp_path: Path, kind: str, share: float) -> None:
    folder = make_model(tmp_path / "m", kind)
    exact, rough = whole(load(folder), PROMPT), whole(load(folder, torch.bfloat16), PROMPT)
    near = torch.nn.functional.cosine_similarity(exact, rough.float(), dim=-1) > 0.99
    assert near.float().mean() >= share


@pytest.mark.parametrize(
    ("prefix", "head"),
    [
        ("language_model.model.", "language_model.lm_head.weight"),
        ("model.language_model.", "lm_head.weight"),
    ],
)
def test_the_part_of_a_seeing_model_that_reads_is_served(
    tmp_path: Path, prefix: str, head: str
) -> None:
    one = make_model(tmp_path / "one", "mistral")
    many = make_model(tmp_path / "many", "mistral")
    tensors = load_file(many / "model.safetensors")
    named = {
        head if n == "lm_head.weight" else n.replace("model.", prefix, 1): t
        for n, t in tensors.items()
    }
    save_file(named | {"vision_tower.x": torch.zeros(2)}, many / "model.safetensors")
    fields = json.loads((many / "config.json").read_text("utf-8"))
    wrapped = {"model_type": "mistral3", "text_config": fields, "tie_word_embeddings": False}
    (many / "config.json").write_text(json.dumps(wrapped), "utf-8")
    assert torch.equal(whole(load(one), PROMPT), whole(load(many), PROMPT))


def test_a_decoder_saved_without_a_head_is_the_same_model(tmp_path: Path) -> None:
    one = make_model(tmp_path / "one", "qwen3")
    many = make_model(tmp_path / "many", "qwen3")
    tensors = load_file(many / "model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, many / "model.safetensors")
    assert torch.equal(whole(load(one), PROMPT), whole(load(many), PROMPT))


def test_rows_of_one_step_do_not_see_each_other(tmp_path: Path) -> None:
    decoder = load(make_model(tmp_path / "m", "mistral"))
    prompts = [PROMPT[:n] for n in (30, 5, 17)]
    cache = ArenaCache(decoder.config, 1024, decoder.dtype, CPU)
    extents = [cache.reserve(64) for _ in prompts]
    chunks = [Chunk(e, 0, len(p) - 1) for e, p in zip(extents, prompts, strict=True) if e]
    lasts = [Chunk(c.extent, c.count, 1) for c in chunks]
    with torch.inference_mode():
        row = torch.tensor([id for p in prompts for id in p[:-1]])
        positions = torch.cat([torch.arange(c.count) for c in chunks])
        decoder.hidden(row, positions, cache.plan(chunks))
        # The last tokens decode together, and in an order that is not the arena's.
        order = [2, 0, 1]
        row = torch.tensor([prompts[i][-1] for i in order])
        positions = torch.tensor([len(prompts[i]) - 1 for i in order])
        plan = cache.plan([lasts[i] for i in order])
        logits = decoder.logits(decoder.hidden(row, positions, plan))
    for i, logit in zip(order, logits, strict=True):
        torch.testing.assert_close(logit, whole(decoder, prompts[i])[-1], rtol=1e-4, atol=1e-4)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Unsupported, match=r"only pickled weights \(pytorch_model.bin\)"):
        load(folder)


def test_weights_cut_short_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match=r"model.safetensors cannot be read"):
        load(folder)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    _edit(folder, intermediate_size=96)
    with pytest.raises(InvalidInput, match=r"mlp.gate_proj.weight in m is \[128, 64\], not \[96"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "architecture 'gpt2'"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "'dynamic'"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = make_model(tmp_path / "m")
    _edit(folder, **change)
    with pytest.raises(Unsupported, match=message):
        load(folder)


def _edit(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
