"""Geometry for the pages' drawings: an interval on a line from 0 to 1, and curves of a loss.

Numbers only: the templates write the SVG, so that all text passes through their escaping.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 640, 220  # of the curve's drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30
_MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A loss over steps, ready to draw; `judged` are the places of the validation's points."""

    training: str  # points of a polyline: `x,y x,y`
    validation: str
    judged: list[tuple[float, float]]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    first: float
    last: float
    steps: int


def loss_curve(points: Sequence[Mapping[str, Any]], steps: int = 0) -> Curve | None:
    """The curve of `[{step, loss, validation_loss?}]`, with room for as many `steps` as there will be;
    None for fewer than two points."""
    training = _series(points, "loss")
    validation = _series(points, "validation_loss")
    if len(training) < 2:
        return None
    losses = [loss for _, loss in training + validation]
    low, high = _round_range(min(losses), max(losses))
    first_step, last_step = training[0][0], max(step for step, _ in training + validation)
    end = max(last_step, steps)

    def x_of(step: float) -> float:
        share = (step - first_step) / ((end - first_step) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y_of(loss: float) -> float:
        return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(series: list[tuple[float, float]]) -> str:
        return " ".join(f"{x_of(step):.1f},{y_of(loss):.1f}" for step, loss in _thin(series))

    return Curve(
        line(training),
        line(validation),
        [(x_of(step), y_of(loss)) for step, loss in _thin(validation)],
        [Tick(y_of(value), f"{value:g}") for value in _ticks(low, high, 4)],
        [Tick(x_of(value), f"{value:g}") for value in _ticks(first_step, end, 6)],
        training[0][1],
        training[-1][1],
        int(last_step),
    )


def _series(points: Sequence[Mapping[str, Any]], field: str) -> list[tuple[float, float]]:
    found = []
    for point in points:
        value = point.get(field)
        if isinstance(value, int | float) and math.isfinite(value):
            found.append((float(point["step"]), float(value)))
    return found


def _thin(series: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS`, the last one always among them."""
    stride = max(1, math.ceil(len(series) / _MOST_POINTS))
    kept = series[::stride]
    return kept if kept[-1:] == series[-1:] else [*kept, series[-1]]


def _round_range(low: float, high: float) -> tuple[float, float]:
    step = _round_step((high - low) / 4 or abs(high) or 1.0)
    return math.floor(low / step) * step, (math.floor(high / step) + 1) * step


def _ticks(low: float, high: float, count: int) -> list[float]:
    step = _round_step((high - low) / count or 1.0)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((power * unit for unit in (1, 2, 5) if power * unit >= rough * 0.999), power * 10)
