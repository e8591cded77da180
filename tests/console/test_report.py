import pytest

from baigong.console.report import questions, report_view
from tests.console.conftest import report_of


@pytest.fixture(scope="module")
def report():
    return report_of({"candidate": 0.9, "incumbent": 0.7, "base": 0.2, "baseline": 0.5})


def test_contenders_come_in_one_order_with_intervals_round_their_scores(report):
    view = report_view(report, "en")
    assert [s.kind for s in view.scores] == ["base", "baseline", "incumbent", "candidate"]
    assert [round(s.value, 2) for s in view.scores] == [0.2, 0.5, 0.7, 0.9]
    assert all(s.low < s.value < s.high for s in view.scores)
    assert (view.metric, view.rows, view.percent) == ("Accuracy", 60, "95")


def test_slices_hold_the_candidate_against_what_was_live(report):
    view = report_view(report, "zh")
    assert view.rival == "此前上线的版本"
    assert [s.name for s in view.slices] == ["language: en", "language: zh"]
    assert sum(s.rows for s in view.slices) == 60
    for line in view.slices:
        assert line.now - line.before == pytest.approx(line.difference)
        assert not line.is_worse


def test_a_slice_that_became_worse_is_marked():
    worse = report_view(report_of({"candidate": 0.2, "incumbent": 0.9}), "en")
    assert all(line.is_worse for line in worse.slices)
    assert worse.losses


def test_without_an_incumbent_the_base_is_the_rival():
    view = report_view(report_of({"candidate": 0.9, "base": 0.1}), "en")
    assert view.rival == "The base model alone"


def test_the_second_metric_is_a_row_of_the_other_table(report):
    (line,) = report_view(report, "zh").measures
    assert line.name == "宏平均 F1"
    assert len(line.values) == 4


def test_questions_to_try_are_rows_that_were_asked(report):
    assert questions(report, "en")[0].startswith("I want a ")
    assert len(questions(report, "en")) == len(set(questions(report, "en"))) == 4


@pytest.mark.parametrize("broken", [{}, {"task": "chat"}, {"a": 1}])
def test_what_is_no_report_is_none(broken):
    assert report_view(broken, "en") is None
    assert questions(broken, "en") == []
