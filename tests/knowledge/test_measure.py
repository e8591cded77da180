from __future__ import annotations

import math
from pathlib import Path

import pytest

from baigong.errors import DataProblems
from baigong.knowledge.measure import Question, measure, ndcg, read_questions
from baigong.types import Passage


def found(*documents: str) -> list[Passage]:
    return [Passage("kb", name, "", f"text of {name}", 0, 1) for name in documents]


def test_measure_averages_over_questions() -> None:
    answers = {"q1": found("a", "b"), "q2": found("b", "b", "a"), "q3": found("b")}
    questions = [Question(name, "a") for name in answers]
    quality = measure(questions, lambda question, limit: answers[question][:limit])
    assert quality.questions == 3
    assert quality.recall_at_1 == pytest.approx(1 / 3)
    assert quality.recall_at_3 == quality.recall_at_10 == pytest.approx(2 / 3)
    assert quality.mrr == pytest.approx((1 + 1 / 2) / 3)  # q2: b counts once, so a is second
    assert quality.ndcg_at_10 == pytest.approx((1 + 1 / math.log2(3)) / 3)


def test_a_quote_must_be_in_the_passage() -> None:
    passages = [
        Passage("kb", "a", "", "something else", 0, 1),
        Passage("kb", "a", "", "the  very\nwords", 0, 1),
    ]
    quality = measure([Question("q", "a", "very words")], lambda *_: passages)
    assert (quality.recall_at_1, quality.recall_at_3) == (0.0, 1.0)


def test_ndcg_of_known_rankings() -> None:
    assert ndcg(["a", "b"], {"a", "b"}) == 1.0
    assert ndcg(["x", "a"], {"a"}) == pytest.approx(1 / math.log2(3))
    assert ndcg(["x"], {"a"}) == ndcg([], {"a"}) == ndcg(["a"], set()) == 0.0


def test_questions_are_read_and_bad_lines_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "q\u2028", "document": "a"}\n\n', encoding="utf-8")
    assert read_questions(path) == [Question("q\u2028", "a")]
    path.write_text('{"question": "q"}\nnot json\n', encoding="utf-8")
    with pytest.raises(DataProblems) as caught:
        read_questions(path)
    assert [problem.line for problem in caught.value.problems] == [1, 2]
    path.write_text("")
    with pytest.raises(DataProblems, match="no questions"):
        read_questions(path)
