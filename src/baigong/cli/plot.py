"""A loss curve as text."""

from __future__ import annotations

from collections.abc import Sequence

import plotille

from baigong.tuning.curve import Point

_WIDTH, _HEIGHT = 60, 10


def plot(points: Sequence[Point]) -> str:
    """The loss of training, dots, and of validation, letters, over steps; "" if there is too little."""
    if len(points) < 2:
        return ""
    figure = plotille.Figure()
    figure.width, figure.height = _WIDTH, _HEIGHT
    figure.color_mode = "names"
    figure.with_colors = False
    figure.x_label, figure.y_label = "step", "loss"
    figure.set_x_limits(min_=0, max_=points[-1].step)
    highest = max(max(p.loss, p.validation_loss or 0.0) for p in points)
    figure.set_y_limits(min_=0, max_=highest or 1.0)
    figure.register_label_formatter(float, _number)
    figure.register_label_formatter(int, _number)
    figure.plot([p.step for p in points], [p.loss for p in points], label="training")
    judged = [(p.step, p.validation_loss) for p in points if p.validation_loss is not None]
    if judged:
        steps, losses = zip(*judged, strict=True)
        figure.scatter(steps, losses, label="validation", marker="o")
    return str(figure.show(legend=True))


def _number(value: float, chars: int, delta: float, left: bool = False) -> str:
    text = f"{value:.3g}"
    return text.ljust(chars) if left else text.rjust(chars)
