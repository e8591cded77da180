"""A loss curve as a picture: PNG for whatever shows pictures, SVG for browsers and print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baigong.tuning.curve import Point
from baigong.tuning.drawing import HEIGHT, WIDTH, Dot, Drawing, Line, Word, svg
from baigong.tuning.raster import png

PNG_FILE, SVG_FILE = "curve.png", "curve.svg"
_LEFT, _TOP = 52, 28  # margins, alike on opposite sides
_LINES = 4  # across, with a number each
_COLOURS = {"training": "#2563eb", "validation": "#dc2626"}
_GRID = "#dddddd"


def write(points: Sequence[Point], folder: Path) -> None:
    """Both files."""
    drawing = draw(points)
    (folder / SVG_FILE).write_text(svg(drawing), "utf-8")
    (folder / PNG_FILE).write_bytes(png(drawing))


def draw(points: Sequence[Point]) -> Drawing:
    """The losses of training and validation, in nats per answer token, over steps."""
    series = {
        "training": [(point.step, point.loss) for point in points],
        "validation": [
            (point.step, point.validation_loss)
            for point in points
            if point.validation_loss is not None
        ],
    }
    last = max((point.step for point in points), default=0) or 1
    highest = max((loss for line in series.values() for _, loss in line), default=0.0) or 1.0
    parts: list[Line | Dot | Word] = []
    for number in range(_LINES + 1):
        step, loss = last * number / _LINES, highest * number / _LINES
        (x, _), (_, y) = _place(step, 0, last, highest), _place(0, loss, last, highest)
        parts += [
            Line([(_LEFT, y), (WIDTH - _LEFT, y)], _GRID),
            Word(_LEFT - 6, y + 4, f"{loss:.3g}", anchor=1.0),
            Word(x, HEIGHT - _TOP + 16, f"{step:.0f}", anchor=0.5),
        ]
    for number, (name, line) in enumerate(series.items()):
        colour, places = _COLOURS[name], [_place(*point, last, highest) for point in line]
        if places:
            parts += [
                Line(places, colour, 1.5),
                Word(_LEFT + 110 * number, _TOP - 10, f"{name} loss", colour),
            ]
        if name == "validation":
            parts += [Dot(x, y, colour) for x, y in places]
    return parts


def _place(step: float, loss: float, last: float, highest: float) -> tuple[float, float]:
    across = _LEFT + (WIDTH - 2 * _LEFT) * step / last
    return across, HEIGHT - _TOP - (HEIGHT - 2 * _TOP) * loss / highest
