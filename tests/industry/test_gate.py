import msgspec
import numpy as np
import pytest

from baigong.evals.report import Entry, EvalReport, evaluate
from baigong.industry.gate import judge
from baigong.industry.recipe import Gate
from baigong.types import Message, Row


def answers(right):
    return ["yes" if is_right else "no" for is_right in right]


def report(n=240, *, candidate, metrics=("accuracy",), slices=None, confidence=0.95, **others):
    """A report in which each contender is right on the rows where its array is true."""
    slices = slices or [{}] * n
    rows = [Row(str(i), (Message("user", "?"),), "yes", "test", slices[i]) for i in range(n)]
    names = {"incumbent": "support@2", "base": "sapling", "baseline": "TF-IDF"}
    entries = {"candidate": Entry("build", rows, answers(candidate))}
    entries |= {who: Entry(names[who], rows, answers(right)) for who, right in others.items()}
    return evaluate("classification", metrics, entries, confidence=confidence)


def right(share, n=240, seed=0):
    """Right on about this share of rows; the same seed makes two contenders agree where they can."""
    return np.random.default_rng(seed).random(n) < share


def gate(**fields):
    return Gate.model_validate({"metric": "accuracy", **fields})


def failed(verdict):
    return [check.name for check in verdict.checks if not check.passed]


# --- against live --------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.05, 0.0, -0.02, -0.5, -1.0])
def test_a_clearly_worse_candidate_is_refused_whatever_the_margin(margin):
    made = report(candidate=right(0.6), incumbent=right(0.9))
    verdict = judge(made, gate(margin=margin), live="support@2")
    assert not verdict.passed
    assert failed(verdict) == ["rival"]


@pytest.mark.parametrize("margin", [0.05, 0.0, -0.02])
def test_a_clearly_better_candidate_passes(margin):
    made = report(candidate=right(0.9), incumbent=right(0.7))
    assert judge(made, gate(margin=margin)).passed


@pytest.mark.parametrize(("margin", "passes"), [(0.01, False), (0.0, True), (-0.05, True)])
def test_an_equal_candidate_passes_only_where_no_gain_is_asked_for(margin, passes):
    same = right(0.8)
    verdict = judge(report(candidate=same, incumbent=same), gate(margin=margin))
    assert verdict.passed is passes
    assert "is level with live support@2 (240 rows)" in verdict.sentence_en


def test_a_small_lead_is_enough_without_a_margin_and_may_be_chance_with_one():
    live = right(0.8)
    better = live.copy()
    better[np.flatnonzero(~live)[:3]] = True
    made = report(candidate=better, incumbent=live)
    assert judge(made, gate()).passed
    verdict = judge(made, gate(margin=0.01))
    assert not verdict.passed
    assert "that may be chance: so many rows show a difference from about" in verdict.sentence_en


def test_a_margin_that_tolerates_a_drop_tolerates_chance_and_not_proof():
    live = right(0.8)
    slightly, provably = live.copy(), live.copy()
    slightly[np.flatnonzero(live)[:3]] = False
    provably[np.flatnonzero(live)[:20]] = False
    assert judge(report(candidate=slightly, incumbent=live), gate(margin=-0.02)).passed
    assert not judge(report(candidate=slightly, incumbent=live), gate(margin=-0.01)).passed
    verdict = judge(report(candidate=provably, incumbent=live), gate(margin=-0.2))
    assert "it is provably worse" in verdict.sentence_en


def test_equal_models_pass_a_wanted_margin_by_chance_no_more_often_than_alpha():
    passed = 0
    for seed in range(60):
        made = report(200, candidate=right(0.8, 200, seed), incumbent=right(0.8, 200, seed + 999))
        passed += judge(made, gate(margin=0.001)).passed
    assert passed <= 60 * 0.05 + 3


# --- without live --------------------------------------------------------------------------------


def test_the_first_release_must_beat_its_base_provably():
    assert judge(report(candidate=right(0.8), base=right(0.1)), gate()).passed
    same = right(0.8)
    verdict = judge(report(candidate=same, base=same), gate(margin=-0.5))
    assert not verdict.passed
    assert verdict.sentence_en.endswith("level with the base sapling (240 rows); that is no gain.")
    ahead = same.copy()
    ahead[np.flatnonzero(~same)[:2]] = True
    assert "may be chance" in judge(report(candidate=ahead, base=same), gate()).sentence_en


def test_what_is_live_counts_and_not_the_base():
    made = report(candidate=right(0.7), incumbent=right(0.9), base=right(0.1))
    assert not judge(made, gate()).passed


# --- minimum, slices, baseline -------------------------------------------------------------------


def test_the_minimum_holds_even_for_a_better_candidate():
    made = report(candidate=right(0.5), incumbent=right(0.2))
    verdict = judge(made, gate(minimum=0.6))
    assert failed(verdict) == ["minimum"]
    assert "the minimum is 0.6" in verdict.sentence_en
    assert "未达到下限 0.6" in verdict.sentence_zh


def test_figures_of_the_knowledge_base_must_reach_what_is_asked_for():
    made = report(candidate=right(0.9), incumbent=right(0.7))
    made = msgspec.structs.replace(
        made, retrieval={"questions": 60.0, "recall_at_3": 0.75, "declined": 0.9}
    )
    assert judge(made, gate(knowledge={"recall_at_3": 0.75, "declined": 0.5})).passed
    verdict = judge(made, gate(knowledge={"recall_at_3": 0.8, "declined": 0.5}))
    assert failed(verdict) == ["knowledge recall_at_3"]
    assert "recall_at_3 is 0.75 on 60 questions, and 0.8 is asked for" in verdict.sentence_en
    assert "recall_at_3 为 0.75（60 个问题），要求至少 0.8" in verdict.sentence_zh
    with pytest.raises(ValueError, match="cited"):
        judge(made, gate(knowledge={"cited": 0.5}))


def two_languages(n=240):
    return [{"language": "zh" if i % 4 == 0 else "en"} for i in range(n)]


def test_a_named_slice_that_provably_gets_worse_refuses_a_better_candidate():
    live = right(0.8)
    candidate = np.ones(240, dtype=bool)
    candidate[::4] &= right(0.4)[::4]
    made = report(candidate=candidate, incumbent=live, slices=two_languages())
    assert judge(made, gate()).passed
    verdict = judge(made, gate(slices={"language": 0.05}))
    assert failed(verdict) == ["slice language=zh"]
    assert "the slice language=zh gets worse" in verdict.sentence_en
    assert judge(made, gate(slices={"language": 0.9})).passed


def test_a_slice_that_drops_by_chance_does_not_refuse():
    live = right(0.7)
    candidate = live.copy()
    candidate[np.flatnonzero(~live)[:30]] = True
    lost = [i for i in np.flatnonzero(live) if i % 4 == 0][:2]
    candidate[lost] = False
    candidate[[i for i in range(0, 240, 4) if not live[i]]] = False
    made = report(candidate=candidate, incumbent=live, slices=two_languages())
    verdict = judge(made, gate(slices={"language": 0.0}), live="support@2")
    assert made.against("incumbent", "accuracy").slices["language"]["zh"].value < 0
    assert verdict.passed
    assert verdict.sentence_en.endswith("all slices hold.")


def test_many_slices_do_not_add_up_to_a_refusal_by_chance():
    slices = [{"shop": str(i % 20)} for i in range(600)]
    refused = 0
    for seed in range(30):
        live, candidate = right(0.8, 600, seed), right(0.85, 600, seed + 999)
        made = report(600, candidate=candidate, incumbent=live, slices=slices)
        refused += any(
            name.startswith("slice") for name in failed(judge(made, gate(slices={"shop": 0})))
        )
    assert refused <= 4


def test_a_slice_with_too_few_rows_is_said_and_not_judged():
    slices = [{"language": "zh" if i < 5 else "en"} for i in range(240)]
    candidate = np.ones(240, dtype=bool)
    candidate[:5] = False
    made = report(candidate=candidate, incumbent=right(0.8), slices=slices)
    verdict = judge(made, gate(slices={"language": 0.0}))
    assert verdict.passed
    assert verdict.warnings[0]["en"] == "language: too few test rows to judge zh."


def test_a_better_baseline_is_a_warning_or_a_refusal_as_asked():
    made = report(candidate=right(0.8), base=right(0.1), baseline=right(0.9))
    verdict = judge(made, gate())
    assert verdict.passed
    assert "A plain baseline (TF-IDF) scores 0.86" in verdict.warnings[0]["en"]
    assert "better than the candidate's" in verdict.warnings[0]["en"]
    strict = judge(made, gate(beat_baseline=True))
    assert failed(strict) == ["baseline"]
    assert "a plain baseline does better" in strict.sentence_en


# --- words ---------------------------------------------------------------------------------------


def test_the_sentence_is_one_that_a_person_reads():
    live, candidate = right(0.7), right(0.9)
    made = report(candidate=candidate, incumbent=live, slices=two_languages())
    verdict = judge(made, gate(slices={"language": 0.05}), live="support@2")
    value, gain = candidate.mean(), candidate.mean() - live.mean()
    assert verdict.sentence_en.startswith(f"Accuracy {value:.2f} (0.")
    assert (
        f" is {gain:.2f} above live support@2 (p < 0.001, 240 rows); all slices hold."
        in verdict.sentence_en
    )
    assert f"，比线上 support@2 高 {gain:.2f}（p < 0.001，240 行）；" in verdict.sentence_zh
    assert all(check.detail["en"] and check.detail["zh"] for check in verdict.checks)


def test_the_same_report_gives_the_same_verdict_also_from_disk():
    made = report(candidate=right(0.9), incumbent=right(0.85), metrics=("accuracy", "macro_f1"))
    again = EvalReport.from_json(made.to_json())
    for metric in ("accuracy", "macro_f1"):
        spec = gate(metric=metric, margin=0.01)
        assert judge(made, spec) == judge(again, spec)


def test_a_report_made_at_another_confidence_is_not_judged():
    made = report(candidate=right(0.9), base=right(0.2))
    with pytest.raises(ValueError, match="confidence"):
        judge(made, gate(confidence=0.9))
    with pytest.raises(ValueError, match="no macro_f1"):
        judge(made, gate(metric="macro_f1"))
    with pytest.raises(ValueError, match="neither with live nor with its base"):
        judge(report(candidate=right(0.9)), gate())
