"""The cost of a store as it grows, as a picture: `python -m bench.knowledge.plot` draws the last figures."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path

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
    panels = [
        f'<g transform="translate({number * _WIDTH},0)">{_panel(title, works, lines)}</g>'
        for number, (title, works) in enumerate(PANELS.items())
    ]
    size = f'viewBox="0 0 {_WIDTH * len(PANELS)} {_HEIGHT}" width="{_WIDTH * len(PANELS)}"'
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, ground, *panels, "</svg>", ""])


def _panel(title: str, works: tuple[str, ...], lines: Lines) -> str:
    shown = {work: sorted(lines[work]) for work in works if lines[work]}
    points = [point for line in shown.values() for point in line]
    if not points:
        return ""
    (left, right), (low, high) = (_decades(values) for values in zip(*points, strict=True))

    def x(chunks: float) -> float:
        return _LEFT + (math.log10(chunks) - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def y(figure: float) -> float:
        share = (math.log10(figure) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10**power:g}</text>'
        )
    for chunks in sorted({chunks for chunks, _ in points}):
        parts.append(
            f'<text x="{x(chunks):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{chunks:,.0f}</text>'
        )
    for (work, line), colour in zip(shown.items(), _COLOURS, strict=False):
        places = [(x(chunks), y(figure), figure) for chunks, figure in line]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        above = -7 if work == works[-1] else 15
        for a, b, figure in places:
            parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>')
            parts.append(
                f'<text x="{a:.1f}" y="{b + above:.1f}" text-anchor="middle" fill="{colour}">{figure:.3g}</text>'
            )
    return "".join(parts)


def _decades(values: tuple[float, ...]) -> tuple[int, int]:
    """Whole powers of ten round some figures."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def write(folder: Path = FOLDER) -> None:
    rows = json.loads((folder / "knowledge.json").read_text("utf-8"))["rows"]
    (folder / "growth.svg").write_text(draw(rows), "utf-8")


if __name__ == "__main__":
    write()
