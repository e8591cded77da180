"""What a model takes, from headers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from baigong.errors import InvalidInput
from baigong.inference.fit import fit
from tests.inference.local import LocalEngine
from tests.models import make_model


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_parts_are_what_the_engine_allocates(tmp_path: Path, kind: str) -> None:
    folder = make_model(tmp_path / "m", kind, num_hidden_layers=3)
    found = fit(folder, dtype="bfloat16", context=200, concurrency=4)
    engine = LocalEngine(folder, dtype="bfloat16", cache_tokens=4 * 256)
    assert found.parameters == engine.facts.parameters
    cache = engine.cache.keys.nbytes + engine.cache.values.nbytes  # type: ignore[attr-defined]
    assert found.cache == cache  # extents are powers of two
    assert found.weights == pytest.approx(2 * found.parameters, rel=0.02)


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
    with pytest.raises(InvalidInput, match="no safetensors"):
        fit(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="lacks hidden_size"):
        fit(folder)
