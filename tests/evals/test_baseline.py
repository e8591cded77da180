import subprocess
import sys

import pytest

from baigong.evals.baseline import baseline_answers
from baigong.types import Message, Row


def row(text, answer):
    return Row(text, (Message("system", "Be kind."), Message("user", text)), answer)


def intents(start, stop):
    found = []
    for i in range(start, stop):
        found += [
            row(f"where is my parcel number {i}", "delivery"),
            row(f"please give me back my money for order {i}", "refund"),
            row(f"第{i}单的快递到哪里了", "delivery"),
            row(f"第{i}单我要退款", "refund"),
        ]
    return found


def test_a_linear_model_learns_english_and_chinese_intents():
    test = intents(40, 60)
    answers = baseline_answers(intents(0, 40), test, "classification")
    assert answers == [row.answer for row in test]


def test_other_tasks_get_the_answer_of_the_most_similar_row():
    train = [row("How long is the warranty?", "two years"), row("退货期限是多久？", "三十天")]
    test = [row("how long does a warranty last", "?"), row("退货有多久", "?")]
    for task in ("chat", "extraction"):
        assert baseline_answers(train, test, task) == ["two years", "三十天"]


def test_in_a_grounded_prompt_only_the_question_is_compared():
    train = [
        row("[1] shoes shoes shoes\n\nHow long is the warranty?", "two years"),
        row("[1] coats\n\nCan I return shoes?", "yes"),
    ]
    test = [row("[1] shoes shoes shoes\n\nCan I return coats?", "?")]
    assert baseline_answers(train, test, "grounded") == ["yes"]


def test_one_label_or_no_test_rows_are_no_trouble():
    assert baseline_answers([row("a", "x")] * 3, [row("b", "?")], "classification") == ["x"]
    assert baseline_answers([row("a", "x")], [], "classification") == []
    with pytest.raises(ValueError, match="needs training rows"):
        baseline_answers([], [row("a", "x")], "chat")


def test_reading_a_recipe_does_not_import_the_heavy_libraries():
    code = (
        "import sys, baigong.industry.gate, baigong.industry.data.rows, baigong.evals.run;"
        "print(sorted({'sklearn', 'scipy', 'torch', 'pyarrow', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
