"""The cost of a store as it grows, as a picture: `python -m bench.knowledge.plot` draws the last figures."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from baigong.tuning.drawing import Dot, Line, Word, svg
from bench.record import FOLDER

Lines = dict[str, list[tuple[float, float]]]  # work -> (chunks, figure)

# Title and the works that it shows; both axes are logarithmic.
PANELS = {
    "written and indexed, s": ("written and indexed",),
    "memory while built, GB": ("memory while it was built",),
    "question with filter, ms (p50 and p95)": (
        "words and vectors with filter, p50",
        "words and vectors with filter, p95",
    ),
}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 240, 44, 34, 34, 30
_COLOURS = ("#0b6e4f", "#c9720b")
_WORK = re.compile(r"store of ([\d,]+) chunks: (.+)")


def draw(rows: list[dict[str, object]]) -> str:
    """An SVG with a panel for each kind of cost."""
    lines: Lines = defaultdict(list)
    for row in rows:
        found = _WORK.fullmatch(str(row["work"]))
        if found is not None:
            lines[found[2]].append((float(found[1].replace(",", "")), float(str(row["ours"]))))
    parts: list[Line | Dot | Word] = []
    for number, (title, works) in enumerate(PANELS.items()):
        parts += _panel(number * _WIDTH, title, works, lines)
    return svg(parts, _WIDTH * len(PANELS), _HEIGHT)


def _panel(
    at: int, title: str, works: tuple[str, ...], lines: Lines
) -> Iterator[Line | Dot | Word]:
    """What stands from `at` on."""
    shown = {work: sorted(lines[work]) for work in works if lines[work]}
    points = [point for line in shown.values() for point in line]
    if not points:
        return
    (left, right), (low, high) = (_decades(values) for values in zip(*points, strict=True))

    def place(chunks: float, figure: float) -> tuple[float, float]:
        across = (math.log10(chunks) - left) / (right - left)
        up = (math.log10(figure) - low) / (high - low)
        x = at + _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        return x, _HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - _TOP)

    yield Word(at + _LEFT, 18, title)
    for power in range(low, high + 1):
        begin, end = (place(10.0**edge, 10.0**power) for edge in (left, right))
        yield Line([begin, end], "#dddddd")
        yield Word(begin[0] - 6, begin[1] + 4, f"{10.0**power:g}", anchor=1.0)
    for chunks in sorted({chunks for chunks, _ in points}):
        yield Word(place(chunks, 10.0**low)[0], _HEIGHT - 10, f"{chunks:,.0f}", anchor=0.5)
    for (work, line), colour in zip(shown.items(), _COLOURS, strict=False):
        yield Line([place(*point) for point in line], colour, 2.0)
        above = -7 if work == works[-1] else 15
        for point in line:
            x, y = place(*point)
            yield Dot(x, y, colour)
            yield Word(x, y + above, f"{point[1]:.3g}", colour, anchor=0.5)


def _decades(values: tuple[float, ...]) -> tuple[int, int]:
    """Whole powers of ten round some figures."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def write(folder: Path = FOLDER) -> None:
    rows = json.loads((folder / "knowledge.json").read_text("utf-8"))["rows"]
    (folder / "growth.svg").write_text(draw(rows), "utf-8")


if __name__ == "__main__":
    write()
