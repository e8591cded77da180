"""What a model with a head says of some rows at the end of its training: served, it must say the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = "told.json"  # beside the result
MOST = 8  # rows


class Told(msgspec.Struct, frozen=True):
    """Of one row: the ids or the picture's file, and the shares, the number, the vector or the score.

    `second` is where a pair's second text begins; `unit` is how much a difference of one counts.
    """

    asked: list[int] | bytes
    numbers: list[float]
    second: int | None = None
    unit: float = 1.0


def read_told(folder: Path) -> list[Told]:
    """What the run in `folder` wrote."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Told])
