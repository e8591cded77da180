import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from baigong.evals.metrics import (
    DEFAULT_METRICS,
    METRICS,
    cited_passage,
    common_subsequence,
    macro_f1,
    same_json,
)
from baigong.evals.text import language_of, tokens
from baigong.types import Message, Row

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def row(answer, prompt="?"):
    return Row("1", (Message("user", prompt),), answer)


def score(metric, wanted, given_, prompt="?", schema=None):
    return METRICS[metric].value([row(wanted, prompt)], [given_], schema)


@pytest.mark.parametrize(
    ("metric", "wanted", "answer", "value"),
    [
        ("accuracy", "refund", " refund\n", 1),
        ("accuracy", "refund", "refund.", 0),
        ("exact_match", "Not in  the documents.", "not in the documents.", 1),
        ("exact_match", '{"a":1,"b":2}', '{"b": 2, "a": 1.0}', 1),
        ("exact_match", '{"a":1}', '{"a":true}', 0),
        ("token_f1", "the red shoes", "the shoes", 0.8),
        ("token_f1", "退货期限三十天", "退货三十天", 10 / 12),
        ("token_f1", "?!", "?!", 1),
        ("token_f1", "?!", "", 0),
        ("token_f1", "[1] thirty days", "[2] thirty days", 1),
        ("rouge_l", "a b c d", "d a b c", 0.75),
        ("rouge_l", "三十天", "", 0),
        ("field_f1", '{"a":"x","b":["p","q"]}', '{"b":["q"],"a":"x"}', 0.8),
        ("field_f1", '{"a":1}', '```json\n{"a":1}\n```', 0),
        ("field_f1", '{"a":5}', '{"a":5.0}', 1),
        ("field_f1", "{}", "{}", 1),
        ("json_validity", "{}", '{"a": 1}', 1),
        ("json_validity", "{}", "[1]", 0),
        ("json_validity", "{}", "[" * 100_000, 0),
    ],
)
def test_an_answer_scores(metric, wanted, answer, value):
    assert score(metric, wanted, answer) == pytest.approx(value)


def test_valid_json_means_valid_by_the_schema():
    schema = {"type": "object", "required": ["a"]}
    assert score("json_validity", "{}", '{"a": 1}', schema=schema) == 1
    assert score("json_validity", "{}", "{}", schema=schema) == 0


PROMPT = (
    "[1]\n> Shoes last.\n\n[2] Returns\n> Return within\n> 30 days.\n\n"
    "[3]\n> Within 30 days, again.\n\nHow long?"
)


@pytest.mark.parametrize(
    ("wanted", "answer", "value"),
    [
        ("[2] within 30 days", "It is 30 days [2].", 1),
        ("[2] within 30 days", "[3] 30 days", 1),  # an overlapping passage that holds the quote too
        ("[2] within 30 days", "[1] 30 days", 0),
        ("[2] within 30 days", "[9] 30 days", 0),
        ("[2] within 30 days", "Not in the documents.", 0),
        ("Not in the documents.", "文档中没有。", 1),
        ("Not in the documents.", "[1] Shoes last.", 0),
    ],
)
def test_a_citation_is_right_if_its_passage_holds_the_quote(wanted, answer, value):
    assert score("citation", wanted, answer, PROMPT) == value


def test_a_cited_passage_ends_where_the_next_one_or_the_question_begins():
    assert cited_passage(PROMPT, 1) == "Shoes last."
    assert cited_passage(PROMPT, 3) == "Within 30 days, again."
    assert cited_passage(PROMPT, 4) == ""


def slow_subsequence(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return slow_subsequence(a[:-1], b[:-1]) + 1
    return max(slow_subsequence(a[:-1], b), slow_subsequence(a, b[:-1]))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_fast_common_subsequence_is_the_slow_one(a, b):
    assert common_subsequence(a, b) == slow_subsequence(a, b)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=1, max_size=40)
)
def test_macro_f1_is_that_of_scikit_learn_over_the_labels_wanted(pairs):
    wanted, given_ = zip(*pairs, strict=True)
    expected = f1_score(
        wanted, given_, average="macro", labels=sorted(set(wanted)), zero_division=0
    )
    assert macro_f1(wanted, given_)(np.ones((1, len(pairs))))[0] == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), min_size=1, max_size=9),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_a_weighted_row_counts_like_a_repeated_one(pairs, seed):
    weights = np.random.default_rng(seed).integers(0, 3, len(pairs))
    weights[0] = 1
    repeated = [pair for pair, times in zip(pairs, weights, strict=True) for _ in range(times)]
    one = macro_f1(*zip(*pairs, strict=True))(weights[None, :].astype(float))[0]
    other = macro_f1(*zip(*repeated, strict=True))(np.ones((1, len(repeated))))[0]
    assert one == pytest.approx(other)


@given(WORDS, WORDS)
def test_scores_are_shares_and_a_perfect_answer_scores_one(a, b):
    for name in ("token_f1", "rouge_l", "exact_match"):
        assert 0 <= score(name, " ".join(a), " ".join(b)) <= 1
        assert score(name, " ".join(a), " ".join(a)) == 1


@given(JSON)
def test_json_agrees_with_itself_written_otherwise(value):
    assert same_json(value, json.loads(json.dumps(value, indent=2, sort_keys=True)))


def test_every_task_has_metrics_that_fit_it():
    for task, names in DEFAULT_METRICS.items():
        assert all(task in METRICS[name].tasks for name in names)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("iPhone 保修多久？", "zh"),
        ("What does 百工 mean?", "en"),
        ("123", "en"),
        ("", "en"),
        ("你好", "zh"),
    ],
)
def test_the_language_is_that_of_most_words(text, language):
    assert language_of(text) == language


def test_tokens_are_chinese_characters_and_other_words():
    assert tokens("退货 ABC-12, ｄａｙｓ!") == ["退", "货", "abc", "12", "days"]


def test_numbers_are_scored_by_how_near_they_are():
    rows = [row("200"), row("0"), row("5")]
    closeness, within = METRICS["closeness"], METRICS["within_tenth"]
    assert list(closeness.row_scores(rows, ["200", "0", "-5"], None)) == [1, 1, 0]
    assert closeness.value([row("100")], ["300"]) == 0.5
    assert list(within.row_scores(rows, ["181", "1", "many"], None)) == [1, 0, 0]


def test_a_search_is_scored_by_the_place_it_found():
    rows = [row("a"), row("b"), row("c")]
    assert METRICS["recall_at_1"].value(rows, ["1", "2", ""]) == pytest.approx(1 / 3)
    assert METRICS["mrr"].value(rows, ["1", "2", ""]) == pytest.approx(0.5)
