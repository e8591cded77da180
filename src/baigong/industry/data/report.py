"""What became of the rows of a file, in counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from baigong.evals.text import fold
from baigong.types import Row


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows. Counts by split; `languages` are shares; `tokens` are percentiles."""

    rows: dict[str, int]
    labels: dict[str, dict[str, int]] = {}
    slices: dict[str, dict[str, dict[str, int]]] = {}
    dropped: dict[str, int] = {}
    languages: dict[str, float] = {}
    tokens: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    files: dict[str, str] = {}
    near: int = 0
    """Rows to learn from that are nearly the same as another one; told, and kept."""
    private: dict[str, int] = {}
    """Rows that hold what may belong to a person, by its kind."""
    detectable: float = 0.0
    """The least difference in a 0/1 metric that the test rows are likely to show."""


def alike_labels(labels: Iterable[str]) -> list[str]:
    """Those that differ in nothing but case and spaces, each group as one text."""
    groups: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        groups[fold(label)].add(label)
    return [" and ".join(map(repr, sorted(group))) for group in groups.values() if len(group) > 1]


def count_slices(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, int]]]:
    """Column -> value -> split -> rows."""
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        for column, value in row.slices.items():
            counts[column][value][row.split] += 1
    return {
        column: {value: dict(n) for value, n in sorted(values.items())}
        for column, values in counts.items()
    }


def percentiles(lengths: Sequence[int]) -> dict[str, int]:
    """Nearest-rank percentiles of row lengths in tokens."""
    if not lengths:
        return {}
    ordered = sorted(lengths)
    names = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    return {name: ordered[max(-(-len(ordered) * p // 100) - 1, 0)] for name, p in names.items()}
