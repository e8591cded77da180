"""A loss curve as a picture: an SVG file, which any browser opens, and no plotting library has to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baigong.tuning.curve import Point

FILE = "curve.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 320, 52, 28  # pixels; margins are alike on opposite sides
_LINES = 4  # across, with a number each
_COLOURS = {"training": "#2563eb", "validation": "#dc2626"}


def write(points: Sequence[Point], folder: Path) -> None:
    (folder / FILE).write_text(draw(points), "utf-8")


def draw(points: Sequence[Point]) -> str:
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
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for number in range(_LINES + 1):
        step, loss = last * number / _LINES, highest * number / _LINES
        (x, _), (_, y) = _place(step, 0, last, highest), _place(0, loss, last, highest)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _LEFT}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.3g}</text>',
            f'<text x="{x:.1f}" y="{_HEIGHT - _TOP + 16}" text-anchor="middle">{step:.0f}</text>',
        ]
    for number, (name, line) in enumerate(series.items()):
        if line:
            parts += _line(name, [_place(*point, last, highest) for point in line])
            x = _LEFT + 110 * number
            parts.append(
                f'<text x="{x}" y="{_TOP - 10}" fill="{_COLOURS[name]}">{name} loss</text>'
            )
    return "\n".join([*parts, "</svg>\n"])


def _place(step: float, loss: float, last: float, highest: float) -> tuple[float, float]:
    across = _LEFT + (_WIDTH - 2 * _LEFT) * step / last
    return across, _HEIGHT - _TOP - (_HEIGHT - 2 * _TOP) * loss / highest


def _line(name: str, places: Sequence[tuple[float, float]]) -> list[str]:
    colour = _COLOURS[name]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        *(dots if name == "validation" else ()),
    ]
