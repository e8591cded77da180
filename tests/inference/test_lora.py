"""Adapters that do not fit are refused in words that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.lora import LoraAdapter, load_adapter
from baigong.model.architecture import ModelConfig
from tests.models import make_adapter, make_model


def load(adapter: Path, model: Path) -> LoraAdapter:
    config = ModelConfig.read(model)
    return load_adapter("a", adapter, config, torch.float32, torch.device("cpu"))


def test_adapter_of_a_wider_base_is_refused(tmp_path: Path) -> None:
    wide = make_model(tmp_path / "wide", hidden_size=96)
    adapter = make_adapter(tmp_path / "a", wide, targets=("q_proj",))
    with pytest.raises(InvalidInput, match=r"another base: its self_attn\.q_proj is 96 to 96"):
        load(adapter, make_model(tmp_path / "m"))


def test_adapter_of_a_deeper_base_is_refused(tmp_path: Path) -> None:
    deep = make_model(tmp_path / "deep", num_hidden_layers=3)
    adapter = make_adapter(tmp_path / "a", deep)
    with pytest.raises(InvalidInput, match="changes layer 2, and the base has 2"):
        load(adapter, make_model(tmp_path / "m"))


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapter_of_the_vocabulary_is_refused(tmp_path: Path, target: str) -> None:
    model = make_model(tmp_path / "m")
    adapter = make_adapter(tmp_path / "a", model, targets=("q_proj", target))
    with pytest.raises(Unsupported, match=rf"{target}, which this engine cannot"):
        load(adapter, model)


def test_adapter_of_experts_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "qwen3_moe")
    adapter = make_adapter(tmp_path / "a", model, targets=("q_proj", "down_proj"))
    with pytest.raises(Unsupported, match=r"mlp\.experts\.0\.down_proj, which this engine cannot"):
        load(adapter, model)
    dense = make_model(tmp_path / "dense", "qwen3_moe", mlp_only_layers=[0, 1])
    adapter = make_adapter(tmp_path / "b", dense, targets=("down_proj",))
    with pytest.raises(InvalidInput, match="layer 0 of the base has experts"):
        load(adapter, model)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
    ],
)
def test_other_kinds_of_adapter_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = make_model(tmp_path / "m")
    adapter = make_adapter(tmp_path / "a", model, **settings)
    with pytest.raises(Unsupported):
        load(adapter, model)


def test_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    with pytest.raises(InvalidInput, match=r"no adapter_config\.json"):
        load(model, model)
    adapter = make_adapter(tmp_path / "a", model)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(Unsupported, match="pickled"):
        load(adapter, model)
