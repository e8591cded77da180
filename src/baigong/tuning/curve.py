"""The loss curve of a run: one point for every few steps, kept in `curve.json` beside the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

FILE = "curve.json"


class Point(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run stood after a step.

    Attributes:
        step: from 1.
        tokens: seen so far, padding left out.
        seconds: of training so far, interruptions left out.
        loss: nats per answer token, mean of the steps since the point before.
        validation_loss: the same over the validation rows, where this point has one.
        validation_accuracy: share of validation rows whose whole answer is the likeliest, token by
            token: what greedy decoding would reproduce. Other objectives have their own notion of right.
        figures: what else the objective measures, by name, e.g. {"margin": 0.4}.
    """

    step: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    figures: dict[str, float] = {}


def write(points: Sequence[Point], folder: Path) -> None:
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(points), indent=1))


def read(folder: Path) -> list[Point]:
    return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Point])
