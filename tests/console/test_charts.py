import math

import pytest

from baigong.console.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, loss_curve


def _points(text):
    return [tuple(map(float, point.split(","))) for point in text.split()]


def test_the_curve_fills_the_drawing_and_stays_inside():
    curve = loss_curve([{"step": s, "loss": 5 - s / 50} for s in range(1, 201)])
    points = _points(curve.training)
    assert points[0][0] == LEFT
    assert points[-1][0] == WIDTH - RIGHT
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in points)
    assert points[0][1] < points[-1][1]  # a falling loss goes down the page
    assert (curve.first, curve.last, curve.steps) == (4.98, 1.0, 200)


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    curve = loss_curve([{"step": s, "loss": 1 / s} for s in range(1, 10_001)])
    points = _points(curve.training)
    assert len(points) <= 402
    assert points[-1][0] == WIDTH - RIGHT


@pytest.mark.parametrize(
    "points",
    [
        [],
        [{"step": 1, "loss": 1.0}],
        [{"step": 1, "loss": None}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": 1.0}],
    ],
)
def test_fewer_than_two_points_are_no_curve(points):
    assert loss_curve(points) is None


@pytest.mark.parametrize("value", [0.0, 1e-9, 3.0, 1e9])
def test_a_flat_curve_can_be_drawn(value):
    curve = loss_curve([{"step": 5, "loss": value}, {"step": 5, "loss": value}])
    assert all(map(math.isfinite, (n for p in _points(curve.training) for n in p)))


def test_validation_is_drawn_where_it_was_measured():
    curve = loss_curve([
        {"step": s, "loss": 1.0, "validation_loss": 2.0 if s == 4 else None} for s in range(1, 9)
    ])
    assert len(_points(curve.validation)) == 1


def test_ticks_are_round_numbers():
    curve = loss_curve([{"step": s, "loss": 4.37 - s / 100} for s in range(1, 301)])
    assert [tick.label for tick in curve.x_ticks] == ["50", "100", "150", "200", "250", "300"]
    assert all(len(tick.label) <= 3 for tick in curve.y_ticks)
