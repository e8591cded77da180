"""The model in the package: stock readers load it, and its card says what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import baigong
from baigong.tuning.pretrain.card import write_card
from baigong.tuning.pretrain.recipe import read_recipe
from tests.tuning.test_pretrain_recipe import SHIPPED
from tests.tuning.test_pretrain_tokenizer import NASTY

FOLDER = Path(baigong.__file__).parent / "foundation" / "sapling"


def test_shipped_tokenizer_gives_stock_readers_the_same_ids() -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    raw, stock = (
        Tokenizer.from_file(str(FOLDER / "tokenizer.json")),
        AutoTokenizer.from_pretrained(FOLDER),
    )
    assert raw.get_vocab_size() == 8192
    for text in NASTY:
        assert stock(text)["input_ids"] == raw.encode(text).ids
        assert raw.decode(raw.encode(text).ids, skip_special_tokens=False) == text


def test_shipped_model_loads_and_copies_a_code() -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    from baigong.tuning.pretrain.exam import answer

    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    assert sum(p.numel() for p in model.parameters()) < 7_000_000
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    prompt = (
        "<|im_start|>system\nRepeat exactly:<|im_end|>\n<|im_start|>user\nK7P2-X9<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert answer(model, tokenizer, [prompt], 24) == ["K7P2-X9"]


def test_shipped_card_is_written_from_the_recorded_run() -> None:
    facts = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == write_card(facts)
    assert facts["exam"] and facts["finished"]


def test_recorded_recipe_is_the_shipped_one_but_for_its_minutes() -> None:
    facts = json.loads((FOLDER / "training.json").read_text(encoding="utf-8"))
    shipped = read_recipe(SHIPPED).model_dump(mode="json")
    recorded = facts["recipe"]
    shipped["budget"].pop("minutes")
    recorded["budget"].pop("minutes")
    assert recorded == shipped
