"""What a model takes, from headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.cache import ArenaCache
from baigong.inference.fit import fit
from tests.inference.local import LocalEngine, save_model
from tests.models import ARCHITECTURES, make_model, wrap_model


def cache_bytes(engine: LocalEngine) -> int:
    cache: Any = engine.cache
    if isinstance(cache, ArenaCache):
        return sum(layer.nbytes for layer in cache._layers)
    return int(cache.keys.nbytes + cache.values.nbytes)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_parts_are_what_the_engine_allocates(tmp_path: Path, kind: str) -> None:
    folder = make_model(tmp_path / "m", kind)
    found = fit(folder, dtype="bfloat16", context=200, concurrency=4)
    engine = LocalEngine(folder, dtype="bfloat16", cache_tokens=4 * 256)
    assert found.parameters == engine.facts.parameters
    assert found.cache == cache_bytes(engine)  # extents are powers of two
    assert found.weights == pytest.approx(2 * found.parameters, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("qwen3", {"head_dim": 128}),
        ("gemma", {"head_dim": 256, "max_position_embeddings": 8192}),
        ("mixtral", {"num_local_experts": 8}),
    ],
)
def test_what_a_config_leaves_out_is_what_its_family_means(
    tmp_path: Path, kind: str, sizes: dict[str, int]
) -> None:
    folder = make_model(tmp_path / "m", kind, **sizes)
    whole = fit(folder, concurrency=2)
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    left = {name: value for name, value in fields.items() if name not in sizes}
    (folder / "config.json").write_text(json.dumps(left), "utf-8")
    assert fit(folder, concurrency=2) == whole


@pytest.mark.parametrize(
    ("kind", "wrapper"), [("ministral3", "mistral3"), ("gemma3_text", "gemma3")]
)
def test_a_model_that_sees_as_well_takes_what_its_decoder_does(
    tmp_path: Path, kind: str, wrapper: str
) -> None:
    folder = make_model(tmp_path / "m", kind)
    alone = fit(folder, dtype="bfloat16", context=128)
    found = fit(wrap_model(folder, wrapper), dtype="bfloat16", context=128)
    assert found.parameters == alone.parameters + 32 * 32
    assert msgspec.structs.replace(found, parameters=alone.parameters) == alone
    assert LocalEngine(folder).facts.parameters == found.parameters


def test_a_tied_head_that_is_stored_all_the_same_is_not_read(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    untied = fit(folder, dtype="bfloat16").weights
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(fields | {"tie_word_embeddings": True}), "utf-8")
    tied = fit(folder, dtype="bfloat16").weights
    assert untied - tied == 2 * fields["vocab_size"] * fields["hidden_size"]


def test_weights_that_the_engine_will_not_make_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="int4"):
        fit(make_model(tmp_path / "m", "qwen3_moe"), dtype="int4")


def test_models_of_transformers_are_counted_by_their_files(tmp_path: Path) -> None:
    import transformers

    sizes = {"vocab_size": 259, "hidden_size": 64, "num_hidden_layers": 2}
    bert = transformers.BertConfig(**sizes, num_attention_heads=4, intermediate_size=128)
    save_model(tmp_path / "bert", "AutoModel", bert)
    gpt2 = transformers.GPT2Config(vocab_size=259, n_embd=64, n_layer=2, n_head=4, n_positions=128)
    save_model(tmp_path / "gpt2", "AutoModelForCausalLM", gpt2)
    reads, writes = (fit(tmp_path / name, concurrency=2) for name in ("bert", "gpt2"))
    assert (reads.weights, reads.cache) == (4 * reads.parameters, 0)
    assert writes.cache == 2 * 128 * 2 * 2 * 64 * 4  # sequences, tokens, layers, k and v, floats
    assert reads.parameters == LocalEngine(tmp_path / "bert").facts.parameters


def test_more_of_anything_takes_more(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    plain = fit(folder, context=128, concurrency=2)
    assert plain.dtype == "float32"
    assert fit(folder, context=256, concurrency=2).cache == 2 * plain.cache
    assert fit(folder, context=128, concurrency=4).cache == 2 * plain.cache
    one = fit(folder, context=128, adapters=1).adapters
    assert fit(folder, context=128, adapters=3, rank=16).adapters == 6 * one
    sizes = [fit(folder, dtype=d).weights for d in ("float32", "bfloat16", "int8", "int4")]
    assert sizes == sorted(sizes, reverse=True)


def test_broken_headers_are_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InvalidInput, match="cut short"):
        fit(folder)
    file.unlink()
    with pytest.raises(InvalidInput, match=r"no model\.safetensors"):
        fit(folder)
    make_model(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="lacks hidden_size"):
        fit(folder)
