"""Lines, dots and words on a white sheet, and how an SVG file says them. Places count from the top left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH, HEIGHT, LETTER = 640, 320, 12  # of a sheet and its letters, in its own units
_INK = "#000000"


class Line(NamedTuple):
    places: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0


class Dot(NamedTuple):
    x: float
    y: float
    colour: str
    radius: float = 3.0


class Word(NamedTuple):
    """Letters and digits; `anchor` is the share of it that lies before x."""

    x: float
    y: float
    text: str
    colour: str = _INK
    anchor: float = 0.0


Drawing = Sequence[Line | Dot | Word]


def svg(drawing: Drawing, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The drawing as an SVG file, on a sheet of that size."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-family="sans-serif" font-size="{LETTER}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_tags(drawing),
        "</svg>\n",
    ])


def _tags(drawing: Drawing) -> Iterator[str]:
    anchors = {0.0: "start", 0.5: "middle", 1.0: "end"}
    for one in drawing:
        match one:
            case Line():
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y in one.places)
                style = f'fill="none" stroke="{one.colour}" stroke-width="{one.width:g}"'
                yield f'<path d="M{path}" {style}/>'
            case Dot():
                place = f'cx="{one.x:.1f}" cy="{one.y:.1f}" r="{one.radius:g}"'
                yield f'<circle {place} fill="{one.colour}"/>'
            case Word():
                place = f'x="{one.x:.1f}" y="{one.y:.1f}" text-anchor="{anchors[one.anchor]}"'
                yield f'<text {place} fill="{one.colour}">{one.text}</text>'
