"""The tokenizer gives every byte back, and the same ids to every reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from baigong.tuning.pretrain.corpus import Corpus, read_corpus
from baigong.tuning.pretrain.recipe import read_recipe
from baigong.tuning.pretrain.tokenizer import save_tokenizer, train_tokenizer
from tests.tuning.pretrain_toy import toy_recipe, write_data, write_recipe

NASTY = (
    "",
    " ",
    "Hello, world!  Two  spaces\n\n\nand lines\r\n\ttabs",
    "你好，世界！订单号：AX-4821，金额￥1,234.50元。",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 \ufeff\u200b\u2028\u00a0",
    "don't I'll we've 'quoted' JSONParser iPhone X1y2",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|><|im_start|",
    '{"order_id":"A-1","date":null}',
    "العربية हिन्दी ไทย 한국어 にほんご 𝔘𝔫𝔦 \x00\x07",
    "1234567890 ²³ ½ Ⅷ",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tokenizer")
    recipe = read_recipe(write_recipe(base / "r.yaml", toy_recipe()))
    corpus: Corpus = read_corpus(recipe, write_data(base / "data"))
    save_tokenizer(train_tokenizer(corpus, recipe.tokenizer, NASTY), base, 512)
    (base / "config.json").write_text('{"model_type": "qwen3"}')
    return base


@pytest.fixture(scope="module")
def raw(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", NASTY)
def test_bytes_come_back_and_transformers_gives_the_same_ids(
    raw: Tokenizer, stock: Any, text: str
) -> None:
    ids = raw.encode(text).ids
    assert raw.decode(ids, skip_special_tokens=False) == text
    assert stock(text)["input_ids"] == ids
    assert stock.decode(ids) == text


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back(raw: Tokenizer, stock: Any, text: str) -> None:
    ids = raw.encode(text).ids
    assert raw.decode(ids, skip_special_tokens=False) == text
    assert stock(text)["input_ids"] == ids


def test_value_has_the_same_ids_after_a_space_and_after_a_quotation_mark(raw: Tokenizer) -> None:
    for value in ("Alice", "AX", "4821", "张伟"):
        tokens = raw.encode(value).ids
        for before in (" ", '"', "：", "\n"):
            assert raw.encode(before + value).ids[-len(tokens) :] == tokens


def test_digits_stand_alone(raw: Tokenizer) -> None:
    assert raw.encode("90210").tokens == list("90210")


def test_end_and_padding_are_named_for_stock_readers(stock: Any) -> None:
    assert (stock.eos_token, stock.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert stock.bos_token is None


def test_template_marks_the_answer_with_its_end_for_training(stock: Any) -> None:
    messages = [
        {"role": "system", "content": "Labels: a, b"},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "a"},
    ]
    text = stock.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|im_start|>system\nLabels: a, b<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n"
        "<|im_start|>assistant\na<|im_end|>\n"
    )
    encoded = stock.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    answer = [
        token
        for token, is_answer in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
        if is_answer
    ]
    assert stock.decode(answer) == "a<|im_end|>"
    asked = stock.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith(asked) and asked.endswith("<|im_start|>assistant\n")
