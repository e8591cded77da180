"""The compiled forward pass gives what plain torch gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baigong.errors import Unsupported
from baigong.inference.engine.__main__ import load
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.messages import EngineConfig
from baigong.inference.engine.native.model import NativeModel, library_for
from baigong.inference.engine.native.pack import Form, pack, reach
from baigong.inference.engine.plain import Model, PlainModel
from baigong.model.architecture import ModelConfig
from baigong.types import Sampling
from tests.models import make_adapter, make_model

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")

PROMPTS = [
    [(n * 31 + 7 * i * i) % 256 for i in range(size)] for n, size in enumerate((70, 3, 33, 1))
]


def open_model(folder: Path, *, native: bool, **config: Any) -> Model:
    model, _ = load(folder, EngineConfig(native=native, threads=2, **config))
    assert isinstance(model, NativeModel if native else PlainModel)
    return model


@torch.inference_mode()
def logits_of(model: Model, adapters: list[Path | None] | None = None) -> torch.Tensor:
    """Logits after each prompt in one batch, then after one more token of each."""
    sequences = []
    for number, ids in enumerate(PROMPTS):
        path = adapters[number] if adapters else None
        adapter = model.load_adapter(path.name, path) if path else None
        sequence = Sequence(number, list(ids), 500, Sampling(), frozenset(), adapter)
        sequence.extent = model.cache.reserve(128)
        sequences.append(sequence)
    found = []
    for _ in range(2):
        batch = Batch.of({s: s.num_pending for s in sequences})
        logits = model.forward(batch)
        assert logits is not None
        found.append(torch.stack([logits[batch.finished.index(s)].float() for s in sequences]))
        for sequence in sequences:
            sequence.computed = len(sequence.ids)
            sequence.ids.append(5)
    return torch.cat(found)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_logits_equal_torch(tmp_path: Path, kind: str, dtype: str, limit: float) -> None:
    folder = make_model(tmp_path / "m", kind, num_hidden_layers=3)
    oracle = logits_of(open_model(folder, native=False, dtype="float32"))
    assert distance(logits_of(open_model(folder, native=True, dtype=dtype)), oracle) < limit


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_of_one_batch_equal_torch(tmp_path: Path, dtype: str) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    every = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    paths: list[Path | None] = [
        make_adapter(tmp_path / "a", folder, rank=1, targets=("v_proj", "up_proj")),
        make_adapter(tmp_path / "b", folder, rank=64, seed=2, targets=every),
        None,
        make_adapter(tmp_path / "c", folder, rank=7, seed=3, targets=every),
    ]
    oracle = logits_of(open_model(folder, native=False, dtype="float32"), paths)
    found = logits_of(open_model(folder, native=True, dtype=dtype), paths)
    assert distance(found, oracle) < (1e-4 if dtype == "float32" else 0.04)


@pytest.mark.parametrize(("dtype", "limit"), [("int8", 0.05), ("int4", 0.4)])
def test_quantised_weights_stay_near(tmp_path: Path, dtype: str, limit: float) -> None:
    folder = make_model(tmp_path / "m", "qwen3", hidden_size=128, intermediate_size=256)
    oracle = logits_of(open_model(folder, native=False, dtype="float32"))
    found = logits_of(open_model(folder, native=True, dtype=dtype))
    assert 1e-4 < distance(found, oracle) < limit


@pytest.mark.parametrize("factor", [1e-30, 1e20])
def test_int4_codes_do_not_depend_on_the_size_of_weights(tmp_path: Path, factor: float) -> None:
    found = library_for(ModelConfig.read(make_model(tmp_path / "m", "qwen3")))
    assert found is not None
    torch.manual_seed(0)
    weight, form = torch.randn(32, 128), Form("int4", 32, 128, has_bias=False)
    weight[3] = 0
    codes, scales, _ = form.stops
    blocks = [np.empty(form.stops[-1], np.uint8) for _ in range(2)]
    pack(found, form, blocks[0], weight)
    pack(found, form, blocks[1], weight * factor)
    once, again = (block[codes:scales].view(np.float32) for block in blocks)
    assert np.array_equal(blocks[0][:codes], blocks[1][:codes])
    assert np.allclose(again, once * np.float32(factor), rtol=1e-5, atol=0)
    assert (once == 0).sum() == 2  # both groups of row 3


def test_what_it_cannot_do_goes_through_torch(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "gemma2")
    open_model(folder, native=False)
    with pytest.raises(Unsupported, match="Use bfloat16"):
        load(folder, EngineConfig(dtype="int8"))
    model, _ = load(folder, EngineConfig(native=True))
    assert isinstance(model, PlainModel)


def test_embeddings_equal_torch(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    with torch.inference_mode():
        plain = open_model(folder, native=False, dtype="float32").embed(PROMPTS)
        native = open_model(folder, native=True, dtype="float32").embed(PROMPTS)
    assert torch.allclose(native, plain, atol=1e-5)


def test_each_block_of_outputs_is_reached_by_the_ranks_of_its_own_modules():
    found = reach(((40, 3), (24, 2)))
    assert found.rank == 5
    assert found.first.tolist() == [0, 0, 0, 3]
    assert found.count.tolist() == [4, 4, 6, 2]  # even; the third block has outputs of both
    assert found.offset.tolist() == [0, 64, 128, 224]
    assert found.values == 16 * 16


def test_a_module_without_an_addition_is_not_reached():
    found = reach(((32, 0), (16, 4)))
    assert found.count.tolist() == [0, 0, 4, 0]
    assert found.values == 4 * 16
