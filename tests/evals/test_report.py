import pytest

from baigong.evals.report import Entry, EvalReport, evaluate
from baigong.types import Message, Row

ROWS = [
    Row(str(i), (Message("user", f"q{i}"),), "ab"[i % 2], "test", {"language": "zh" if i < 20 else "en"})
    for i in range(60)
]  # fmt: skip
RIGHT = [row.answer for row in ROWS]
HALF = ["a"] * 60


def made(**others):
    entries = {
        "candidate": Entry("new", ROWS, RIGHT),
        "base": Entry("sapling", ROWS, HALF),
    } | others
    return evaluate(
        "classification", ("accuracy", "macro_f1"), entries, retrieval={"recall@3": 0.9}
    )


def test_every_contender_is_scored_overall_and_by_slice():
    report = made()
    assert report.scores["candidate"].metrics["accuracy"].value == 1
    base = report.scores["base"]
    assert base.metrics["accuracy"].value == 0.5
    assert base.metrics["macro_f1"].value == pytest.approx(1 / 3)
    assert base.slices["language"]["zh"]["accuracy"].n == 20
    for score in [*base.metrics.values(), *base.slices["language"]["en"].values()]:
        assert score.low <= score.value <= score.high


def test_the_candidate_is_compared_with_every_other():
    report = made(baseline=Entry("tf-idf", ROWS, RIGHT))
    assert {(c.against, c.metric) for c in report.comparisons} == {
        (who, metric) for who in ("base", "baseline") for metric in ("accuracy", "macro_f1")
    }
    accuracy = report.against("base", "accuracy")
    assert (accuracy.overall.wins, accuracy.overall.losses) == (30, 0)
    assert accuracy.overall.test == "mcnemar-exact"
    assert report.against("base", "macro_f1").overall.test == "paired-bootstrap"
    assert report.against("base", "macro_f1").overall.value == pytest.approx(2 / 3)
    assert accuracy.slices["language"]["zh"].n == 20
    assert [(e.wanted, e.candidate, e.other) for e in accuracy.wins[:1]] == [("b", "b", "a")]
    assert report.against("incumbent", "accuracy") is None


def test_a_report_survives_the_disk():
    report = made()
    assert EvalReport.from_json(report.to_json()) == report
    assert report.retrieval == {"recall@3": 0.9}


def test_contenders_may_have_prompts_of_their_own_but_not_rows_of_their_own():
    other = [Row(row.id, (Message("user", "other passages"),), row.answer) for row in ROWS]
    assert made(incumbent=Entry("old@1", other, RIGHT)).against("incumbent", "accuracy")
    with pytest.raises(ValueError, match="incumbent answered other rows"):
        made(incumbent=Entry("old@1", ROWS[::-1], RIGHT))
    with pytest.raises(ValueError, match="incumbent has 59 answers for 60 rows"):
        made(incumbent=Entry("old@1", ROWS, RIGHT[:-1]))
