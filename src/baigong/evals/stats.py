"""The statistics of an evaluation: intervals, paired tests, and what a number of rows can show.

Everything random is seeded: the same answers give the same verdict, to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Aggregate = Callable[[Floats], Floats]
Test = Literal["mcnemar-exact", "paired-bootstrap"]

RESAMPLES = 4000
# Resamples are drawn in blocks of about this many numbers, to bound memory to some 64 MB.
_BLOCK = 4_000_000


class Interval(NamedTuple):
    """A value with its two-sided interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """Two contenders on the same rows. `difference` is first minus second.

    `p_better` is the one-sided p-value against "the first is not better", `p_worse` against "the
    first is not worse". `wins` and `losses` count the rows on which the first scores more, or less.
    """

    difference: float
    low: float
    high: float
    p_better: float
    p_worse: float
    wins: int
    losses: int
    test: Test


def wilson(hits: float, n: int, confidence: float = 0.95) -> Interval:
    """The share hits/n with its Wilson score interval, which stays inside 0..1 and works at 0 and n."""
    if n == 0:
        return Interval(0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the formula is exact, but its rounding is not: the interval must hold the value.
    return Interval(share, min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share))


def bootstrap(aggregate: Aggregate, n: int, confidence: float = 0.95, *, seed: int = 0) -> Interval:
    """The aggregate over all n rows with its percentile bootstrap interval."""
    if n == 0:
        return Interval(0.0, 0.0, 1.0)
    value = whole(aggregate, n)
    samples = np.concatenate([aggregate(weights) for weights in resamples(n, seed)])
    low, high = _middle(samples, confidence)
    return Interval(value, min(low, value), max(high, value))


def whole(aggregate: Aggregate, n: int) -> float:
    """The aggregate over all rows, each once."""
    return float(aggregate(np.ones((1, n)))[0])


def resamples(n: int, seed: int, count: int = RESAMPLES) -> Iterator[Floats]:
    """How often each of n rows was drawn, for `count` draws with replacement, in blocks of draws."""
    generator = np.random.default_rng([seed, n])
    block = max(_BLOCK // max(n, 1), 1)
    for start in range(0, count, block):
        size = min(block, count - start)
        drawn = generator.integers(0, n, size=(size, n))
        drawn += np.arange(size)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        yield counts.reshape(size, n).astype(np.float64)


def _middle(samples: Floats, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(wins: int, losses: int) -> tuple[float, float]:
    """McNemar's exact one-sided p-values for (first better, first worse).

    Only rows on which the two disagree say anything; under "equally good" each is a fair coin, so
    the p-value is a binomial tail, computed in whole numbers. Exact, not mid-p: the chance of a wrong
    verdict is never above 1 - confidence, at the price of some power.
    """
    return _coin_tail(wins, losses), _coin_tail(losses, wins)


def mcnemar_two_sided(wins: int, losses: int) -> float:
    """The exact two-sided p-value: twice the smaller tail, at most 1."""
    return min(1.0, 2 * min(mcnemar(wins, losses)))


def _coin_tail(hits: int, misses: int) -> float:
    """P(at least `hits` heads in hits + misses throws of a fair coin)."""
    n = hits + misses
    term, total = 1, 0  # term is C(n, n), going down to C(n, hits)
    for k in range(n, hits - 1, -1):
        total += term
        term = term * k // (n - k + 1)
    return float(total / 2**n)


def compare_scores(
    first: Floats, second: Floats, confidence: float = 0.95, *, is_binary: bool, seed: int = 0
) -> Paired:
    """Compares the row scores of two contenders on the same rows, in the same order.

    0/1 scores: McNemar's exact test; otherwise a paired bootstrap. The interval of the difference is
    a paired bootstrap's in both cases.
    """
    n = len(first)
    delta = first - second
    result = compare_aggregates(
        lambda weights: np.asarray(weights @ delta / weights.sum(axis=1)), n, confidence, seed=seed
    )
    wins, losses = int((delta > 1e-12).sum()), int((delta < -1e-12).sum())
    if not is_binary:
        return result._replace(wins=wins, losses=losses)
    better, worse = mcnemar(wins, losses)
    return result._replace(
        wins=wins, losses=losses, p_better=better, p_worse=worse, test="mcnemar-exact"
    )


def compare_aggregates(
    difference: Aggregate, n: int, confidence: float = 0.95, *, seed: int = 0
) -> Paired:
    """A paired bootstrap of a difference that is a function of row weights.

    A p-value is the share of resamples in which the difference has not the sign in question; ties
    count against, and one is added above and below, so that it is never 0.
    """
    if n == 0:
        return Paired(0.0, -1.0, 1.0, 1.0, 1.0, 0, 0, "paired-bootstrap")
    value = whole(difference, n)
    samples = np.concatenate([difference(weights) for weights in resamples(n, seed)])
    low, high = _middle(samples, confidence)
    # Sums of floats in another order are not the same zero.
    not_better = (1 + int((samples <= 1e-12).sum())) / (1 + len(samples))
    not_worse = (1 + int((samples >= -1e-12).sum())) / (1 + len(samples))
    return Paired(
        value, min(low, value), max(high, value), not_better, not_worse, 0, 0, "paired-bootstrap"
    )


def detectable_difference(
    n: int, *, confidence: float = 0.95, power: float = 0.8, disagreement: float = 0.2
) -> float:
    """The true difference in a 0/1 metric that n rows show with the given power, one-sided.

    `disagreement` is the share of rows on which the two contenders differ; a fifth is usual between a
    release and its successor. At most 1.
    """
    if n <= 0:
        return 1.0
    normal = NormalDist()
    z = normal.inv_cdf(confidence) + normal.inv_cdf(power)
    return min(1.0, z * math.sqrt(disagreement / n))
