"""Front matter of cards: what is read of it, and what is said of what is wrong."""

import pytest

from baigong.hub.cards import front_matter, validate


def card(yaml):
    return f"---\n{yaml}\n---\n# Title\n"


@pytest.mark.parametrize("start", ["", "\n", "\n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_front_matter_is_what_stands_between_the_lines(start, end):
    text = end.join([f"{start}---", "license: mit", "---", "", "# Title", "--- not a mark", ""])
    found, body = front_matter(text)
    assert found == {"license": "mit"}
    assert body.split(end)[0] == "# Title"


@pytest.mark.parametrize(
    "yaml",
    [
        "a: [",
        "just words",
        "a: &a [*a]",
        "a: " + "[" * 5000 + "]" * 5000,
        "\n".join([
            "a0: &a0 [x, x]",
            *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)),
        ]),
        "a: 1\na: 2",
        "a: !!python/object/apply:os.system [ls]",
        "a: " + "x" * (1 << 19),
    ],
    ids=["open", "words", "itself", "deep", "laughs", "twice", "object", "long"],
)
def test_what_is_no_plain_yaml_says_nothing_and_is_an_error(yaml):
    assert front_matter(card(yaml))[0] == {}
    assert len(validate(card(yaml), "model").errors) == 1


def test_a_mistake_is_shown_with_its_line():
    assert "line 5" in validate("---\nlicense: mit\ntags:\n- a\n b: [\n---\n", "model").errors[0]


def test_dates_and_odd_numbers_become_text():
    assert front_matter(card("a: 2024-01-02\nb: .inf\nc: 1.5\n1: x"))[0] == {
        "a": "2024-01-02",
        "b": "inf",
        "c": 1.5,
        "1": "x",
    }


def test_a_good_card_has_nothing_against_it():
    good = """
language: [en, zh, zh-Hant, code]
license: apache-2.0
base_model: [Qwen/Qwen3-0.6B, gpt2]
pipeline_tag: text-generation
tags: [a, b]
datasets: squad
model-index: [{name: x, results: []}]
whatever: {else: 1}"""
    verdict = validate(card(good), "model")
    assert (verdict.errors, verdict.warnings) == ((), ())


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("license: asdf", '"license" must be one of ['),
        ("license: apache2.0", "Did you mean apache-2.0"),
        ("license: 1", '"license" must be one of ['),
        ("language: English", '"language" must be'),
        ("language: [en, 1]", 'not "1"'),
        ("tags: one", '"tags" must be an array'),
        ("tags: [a, 2]", '"tags[1]" must be a string'),
        ("datasets: {a: b}", '"datasets" must be an array'),
        ("base_model: /home/me/model", '"base_model" with value "/home/me/model"'),
        ("base_model: [a/b/c]", "is not valid"),
        ("model-index: foo", '"model-index" must be an array'),
        ("model-index: [foo]", '"model-index" must be an array of objects'),
        ("pipeline_tag: [a]", '"pipeline_tag" must be a string'),
    ],
)
def test_a_wrong_field_is_named(yaml, said):
    verdict = validate(card(yaml), "model")
    assert len(verdict.errors) == 1
    assert said in verdict.errors[0]


def test_a_task_that_nobody_knows_is_a_warning():
    verdict = validate(card("pipeline_tag: text-generatoin"), "model")
    assert verdict.errors == ()
    assert "Did you mean text-generation" in verdict.warnings[0]


@pytest.mark.parametrize("text", ["", "# Title", "---\n---\n# Title", "---\nnever ended"])
def test_a_card_without_metadata_is_a_warning(text):
    verdict = validate(text, "dataset")
    assert verdict.errors == ()
    assert "empty or missing" in verdict.warnings[0]
