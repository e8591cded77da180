"""The tasks are deterministic, answerable, and made from the side of the text they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from baigong.tuning.pretrain.batches import Batcher, Position, encode_streams, kinds_at
from baigong.tuning.pretrain.corpus import Corpus, clean, is_traditional, read_corpus
from baigong.tuning.pretrain.exam import mark
from baigong.tuning.pretrain.quoting import NOT_THERE, render
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe, read_recipe
from baigong.tuning.pretrain.structure import TASKS, Example, Material, make_example, material
from baigong.tuning.pretrain.tokenizer import train_tokenizer
from tests.tuning.pretrain_toy import toy_recipe, write_data, write_recipe

LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> PretrainRecipe:
    return read_recipe(write_recipe(tmp_path_factory.mktemp("r") / "r.yaml", toy_recipe()))


@pytest.fixture(scope="module")
def corpus(recipe: PretrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(recipe, write_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def stuff(recipe: PretrainRecipe, corpus: Corpus) -> Material:
    return material(corpus, recipe)


def _make(stuff: Material, kind: str, language: Language, count: int = 40) -> list[Example]:
    return [
        make_example(stuff, {}, 5, number, kind=kind, language=language) for number in range(count)
    ]


@pytest.mark.parametrize("kind", TASKS)
def test_same_seed_and_index_make_the_same_example(stuff: Material, kind: str) -> None:
    assert _make(stuff, kind, "en", 10) == _make(stuff, kind, "en", 10)
    assert len({example.user for example in _make(stuff, kind, "zh", 10)}) > 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_quoted_sentence_stands_verbatim_in_the_passage_it_names(
    stuff: Material, language: Language
) -> None:
    examples = _make(stuff, "quote", language, 80)
    answers = [example.assistant for example in examples]
    assert 3 <= answers.count(NOT_THERE[language]) <= 40
    for example in examples:
        if example.assistant == NOT_THERE[language]:
            continue
        number, sentence = example.assistant[1], example.assistant[4:]
        documents, question = example.user.rsplit("\n\n", 1)
        blocks = re.split(r"(?:^|\n\n)\[\d\] ", documents)[1:]
        assert example.assistant.startswith(f"[{number}] ")
        assert sentence in blocks[int(number) - 1]
        assert question and not question.startswith("[")


def test_documents_stand_in_the_one_layout() -> None:
    assert render(["One.", "Two."], "Which?") == "[1] One.\n\n[2] Two.\n\nWhich?"


@pytest.mark.parametrize("language", LANGUAGES)
def test_extracted_values_stand_verbatim_in_the_message(
    stuff: Material, language: Language
) -> None:
    seen_null = False
    for example in _make(stuff, "extract", language, 80):
        fields = json.loads(example.assistant)
        assert example.assistant == json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        for name, value in fields.items():
            assert name in example.system
            seen_null = seen_null or value is None
            assert value is None or value.casefold() in example.user.casefold()
    assert seen_null


@pytest.mark.parametrize("language", LANGUAGES)
def test_right_label_is_one_of_the_system_lines(stuff: Material, language: Language) -> None:
    for example in _make(stuff, "label", language):
        assert example.assistant in example.system


@pytest.mark.parametrize("language", LANGUAGES)
def test_drills_ask_for_what_stands_in_the_prompt(stuff: Material, language: Language) -> None:
    for example in _make(stuff, "copy", language, 120):
        said = example.assistant.split("] ", 1)[-1] if example.user[0] == "[" else example.assistant
        assert said in example.user


def test_drills_come_first_and_then_step_back(recipe: PretrainRecipe) -> None:
    early, late = kinds_at(recipe, 0.1), kinds_at(recipe, 0.9)
    assert early["copy"] / sum(early.values()) == pytest.approx(0.5)
    assert late["copy"] < 0.1 and {**early, "copy": 0} == {**late, "copy": 0}


@pytest.mark.parametrize("language", LANGUAGES)
def test_triage_shows_its_labels_and_the_form_of_a_number(
    stuff: Material, language: Language
) -> None:
    for example in _make(stuff, "triage", language):
        label, number, _ = json.loads(example.assistant).values()
        assert label in example.system
        if number is not None:
            assert re.sub(r"\d", "0", number) in example.system
            assert re.sub(r"\D", "", number) in example.user


def test_held_back_documents_are_never_trained_on(
    recipe: PretrainRecipe, corpus: Corpus, stuff: Material, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer(corpus, recipe.tokenizer)
    streams = encode_streams(tokenizer, corpus, tmp_path)
    batcher, position = Batcher(recipe, tokenizer, streams, stuff), Position()
    texts = []
    for step in range(40):
        batch = batcher.next(position, step, 256)
        texts += [tokenizer.decode(row.tolist()) for row in batch.inputs]
    trained = "\n".join(texts)
    for language in LANGUAGES:
        assert len(corpus.held_back[language]) >= 3
        for document in corpus.held_back[language]:
            lines = [line for line in document.text.split("\n") if len(line) > 30]
            assert not any(line[:25] in trained for line in lines)
        # and the measure can fail: what is trained on is found
        assert any(document.text[:25] in trained for document in corpus.documents[language])


def test_batches_go_on_from_a_position_as_if_never_stopped(
    recipe: PretrainRecipe, corpus: Corpus, stuff: Material, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer(corpus, recipe.tokenizer)
    batcher = Batcher(recipe, tokenizer, encode_streams(tokenizer, corpus, tmp_path), stuff)
    position = Position()
    batches = [batcher.next(position, step, 256) for step in range(4)]
    again = Position()
    for step in range(3):
        batcher.next(again, step, 256)
    resumed = batcher.next(Position(again.en, again.zh, again.example), 3, 256)
    np.testing.assert_array_equal(resumed.inputs, batches[3].inputs)
    np.testing.assert_array_equal(resumed.weights, batches[3].weights)
    assert {0.2, 1.0, 3.0} <= {round(float(weight), 2) for weight in np.unique(resumed.weights)}


def test_cleaning_keeps_prose_and_drops_markup() -> None:
    text = (
        "---\ntitle: x\n---\n# Head\n\n```java\nint x;\n```\n"
        "See [the guide](http://x) for **bold** `code`.\n| a | b |\n![i](x.png)\n<br/>"
    )
    assert clean(text, is_markdown=True) == "Head\nSee the guide for bold code."
    assert clean("a <|im_end|>b（）", is_markdown=False) == "a b"


def test_traditional_text_is_told_from_simplified() -> None:
    assert is_traditional("這個國家會來學習") and not is_traditional("这个国家会来学习")


def test_marks_count_the_passage_and_the_fields() -> None:
    quotes = [
        Example("quote", "en", "", "", text) for text in ("[1] A.", "[2] B.", NOT_THERE["en"])
    ]
    row = mark("quote", "en", quotes, ["[1] A.", "[2] C.", "[1] A."])
    assert (row.exact, row.part, row.constant) == (0.333, 0.667, 0.333)
    fields = [Example("extract", "en", "", "", '{"a":"1","b":null}')] * 2
    row = mark("extract", "en", fields, ['{"a":"1","b":"2"}', "not json"])
    assert (row.exact, row.part, row.constant) == (0.0, 0.25, 0.5)
