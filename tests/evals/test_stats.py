import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from baigong.evals.metrics import mean_of
from baigong.evals.stats import (
    bootstrap,
    compare_aggregates,
    compare_scores,
    detectable_difference,
    mcnemar,
    mcnemar_two_sided,
    resamples,
    wilson,
)

COUNTS = st.integers(0, 300)


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_binomial_test_of_scipy(wins, losses):
    better, worse = mcnemar(wins, losses)
    if wins + losses == 0:
        assert (better, worse) == (1, 1)
        return
    n = wins + losses
    assert better == pytest.approx(binomtest(wins, n, alternative="greater").pvalue)
    assert worse == pytest.approx(binomtest(wins, n, alternative="less").pvalue)
    assert mcnemar_two_sided(wins, losses) == pytest.approx(binomtest(wins, n).pvalue)


def test_mcnemar_works_with_more_rows_than_a_float_can_count():
    better, worse = mcnemar(6000, 4000)
    assert 0 <= better < 1e-80
    assert worse == pytest.approx(1)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_a_wilson_interval_holds_its_value_and_is_that_of_scipy(n, data, confidence):
    hits = data.draw(st.integers(0, n))
    value, low, high = wilson(hits, n, confidence)
    assert 0 <= low <= value <= high <= 1
    theirs = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert (low, high) == (
        pytest.approx(theirs.low, abs=1e-9),
        pytest.approx(theirs.high, abs=1e-9),
    )


def test_a_wilson_interval_covers_the_truth_about_as_often_as_it_says():
    hits = np.random.default_rng(1).binomial(60, 0.85, 2000)
    covered = [low <= 0.85 <= high for _, low, high in (wilson(h, 60) for h in hits)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_bootstrap_interval_holds_its_value_and_repeats_itself(scores):
    aggregate = mean_of(np.array(scores))
    interval = bootstrap(aggregate, len(scores))
    assert interval.low <= interval.value <= interval.high
    assert interval.value == pytest.approx(np.mean(scores))
    assert bootstrap(aggregate, len(scores)) == interval


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(150):
        scores = np.random.default_rng(seed).beta(4, 2, 80)
        _, low, high = bootstrap(mean_of(scores), 80, seed=seed)
        covered += low <= 4 / 6 <= high
    assert covered / 150 > 0.88


def test_every_resample_draws_as_many_rows_as_there_are():
    weights = np.concatenate(list(resamples(7, seed=0, count=100)))
    assert weights.shape == (100, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.3)


def test_many_rows_are_resampled_in_blocks():
    blocks = list(resamples(3_000_000, seed=0, count=2))
    assert [block.shape for block in blocks] == [(1, 3_000_000)] * 2


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_planted_difference_is_found_and_its_sign_is_right(is_binary):
    generator = np.random.default_rng(0)
    worse = (generator.random(300) < 0.6).astype(float)
    better = np.maximum(worse, (generator.random(300) < 0.4).astype(float))
    paired = compare_scores(better, worse, is_binary=is_binary)
    assert paired.low > 0
    assert paired.p_better < 0.001 and paired.p_worse > 0.99
    turned = compare_scores(worse, better, is_binary=is_binary)
    assert turned.difference == -paired.difference
    assert (turned.wins, turned.losses) == (paired.losses, paired.wins)
    assert turned.p_worse < 0.001


@pytest.mark.parametrize("is_binary", [True, False])
def test_equal_answers_prove_nothing(is_binary):
    scores = np.array([0.0, 1.0] * 50)
    paired = compare_scores(scores, scores, is_binary=is_binary)
    assert (paired.difference, paired.low, paired.high) == (0, 0, 0)
    assert (paired.p_better, paired.p_worse) == (1, 1)


@pytest.mark.parametrize("is_binary", [True, False])
def test_between_equal_models_a_proof_is_as_rare_as_alpha(is_binary):
    found = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        first, second = (generator.random((2, 100)) < 0.7).astype(float)
        found += compare_scores(first, second, is_binary=is_binary).p_better < 0.05
    assert found / 200 < 0.09


def test_the_two_tests_agree_where_both_apply():
    generator = np.random.default_rng(3)
    first, second = (generator.random((2, 200)) < [[0.75], [0.68]]).astype(float)
    exact = compare_scores(first, second, is_binary=True)
    resampled = compare_scores(first, second, is_binary=False)
    assert exact.p_better == pytest.approx(resampled.p_better, abs=0.05)


def test_no_rows_say_nothing():
    assert wilson(0, 0) == (0, 0, 1)
    assert bootstrap(mean_of(np.array([])), 0) == (0, 0, 1)
    paired = compare_aggregates(mean_of(np.array([])), 0)
    assert (paired.p_better, paired.p_worse) == (1, 1)


def test_more_rows_detect_smaller_differences():
    found = [detectable_difference(n) for n in (0, 20, 100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)
    assert detectable_difference(240) == pytest.approx(0.072, abs=0.001)


def test_a_detectable_difference_is_detected_about_as_often_as_promised():
    n, gain = 400, detectable_difference(400)
    found = 0
    for seed in range(300):
        draw = np.random.default_rng(seed).random(n)
        wins = int((draw < 0.1 + gain / 2).sum())
        losses = int((draw > 1 - (0.1 - gain / 2)).sum())
        found += mcnemar(wins, losses)[0] < 0.05
    assert found / 300 == pytest.approx(0.8, abs=0.1)
