"""What an answer is worth, by each kind of grader."""

from __future__ import annotations

import json
from typing import Any

import pytest

from baigong.errors import InvalidInput
from baigong.graders import last_number, read_grader, reward


@pytest.mark.parametrize(
    ("operation", "answer", "worth"),
    [
        ("eq", " paid\n", 1),
        ("eq", "Paid", 0),
        ("ne", "paid", 0),
        ("ne", "open", 1),
        ("like", "it is paid.", 1),
        ("like", "it is PAID.", 0),
        ("ilike", "it is PAID.", 1),
        ("ilike", "open", 0),
    ],
)
def test_a_string_is_checked(operation: str, answer: str, worth: float) -> None:
    grader = read_grader({"type": "string_check", "operation": operation})
    assert grader.grade(answer, "paid") == worth


def test_a_reference_of_its_own_takes_the_place_of_the_answer_wanted() -> None:
    grader = read_grader({
        "type": "string_check",
        "operation": "like",
        "reference": "<{{ item.answer }}>",
    })
    assert grader.grade("so: <7>", "7") == 1
    assert grader.grade("so: 7", "7") == 0


def test_texts_are_alike_by_their_common_subsequence() -> None:
    grader = read_grader({"type": "text_similarity", "evaluation_metric": "fuzzy_match"})
    assert grader.grade("今天下雨", "今天下雪") == 0.75
    assert grader.grade("abc", "xyz") == 0
    assert (
        read_grader({"type": "text_similarity", "pass_threshold": 0.7}).grade("今天", "今日") == 0
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("in all 1,234.50 yuan", 1234.5),
        ("共２０％", 20),
        ("3 + 4 = -7", -7),
        ("2019-2024", 2024),
        ("6.02e23", 6.02e23),
        ("none", None),
    ],
)
def test_the_last_number_of_a_text_is_read(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_a_number_may_be_off_by_its_tolerance_and_no_more() -> None:
    absolute = read_grader({"type": "number", "tolerance": 0.5})
    assert [absolute.grade(f"about {n}", "10") for n in (10.5, 10.6)] == [1, 0]
    share = read_grader({"type": "number", "relative": 0.01})
    assert [share.grade(str(n), "1,000") for n in (1009, 1011)] == [1, 0]
    assert share.grade("many", "1,000") == 0


def test_json_is_worth_what_it_parses_fits_and_matches() -> None:
    schema = {"type": "object", "required": ["sum"], "properties": {"sum": {"type": "number"}}}
    grader = read_grader({"type": "json_schema", "schema": schema})
    wanted = json.dumps({"sum": 5, "name": "a"})
    assert grader.grade('{"sum": 5.0, "name": "a"}', wanted) == 1
    assert grader.grade('{"sum": 5}', wanted) == pytest.approx((1 + 1 + 0.5) / 3)
    assert grader.grade('{"sum": "5"}', wanted) == pytest.approx(1 / 3)
    assert grader.grade("sum 5", wanted) == 0
    form = read_grader({"type": "json_schema", "schema": schema, "matches": False})
    assert form.grade('{"sum": 1}', "no JSON") == 1


def test_several_graders_are_a_weighted_sum_and_rewards_their_mean() -> None:
    parts = {
        "right": {"type": "number"},
        "form": {"type": "string_check", "operation": "like", "reference": "="},
    }
    both = read_grader({
        "type": "multi",
        "graders": parts,
        "calculate_output": "0.8 * right + form * 0.2",
    })
    answers = ("= 7", "7", "= 8")
    assert [both.grade(answer, "7") for answer in answers] == [1, 0.8, 0.2]
    exact = read_grader({"type": "string_check"})
    assert reward([both, exact], "7", "7") == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ({"type": "python", "source": "def grade(): ..."}, "'python' runs code, which no grader"),
        ({"type": "score_model", "model": "m"}, "'score_model' asks another service"),
        ({"type": "regex"}, "'regex' is no kind of grader"),
        ({"type": "string_check", "operation": "is"}, "'is'"),
        ({"type": "string_check", "input": "{{item.prompt}}"}, "the whole answer"),
        ({"type": "number", "reference": "{{item.total}}"}, "no other variable"),
        ({"type": "json_schema", "schema": {"type": "thing"}}, "not a JSON schema"),
        ({"type": "multi", "graders": {}, "calculate_output": "a"}, "names no grader: a"),
        ({"type": "multi", "graders": {}, "calculate_output": "min(a, b)"}, "weighted sum"),
    ],
)
def test_what_cannot_be_graded_is_refused_by_name(grader: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message.replace("(", r"\(")) as caught:
        read_grader(grader, "tune.rewards")
    assert caught.value.param == "tune.rewards"
    assert caught.value.hint
