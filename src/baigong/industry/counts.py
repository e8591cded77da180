"""What the report of a dataset counts: slices by split, and lengths."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from baigong.types import Row


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
