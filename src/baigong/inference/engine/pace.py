"""Work beside the running batch, in small pieces with pauses, so that the batch hardly notices."""

from __future__ import annotations

import time
from collections.abc import Callable

# Called between two small pieces of such work.
Pace = Callable[[], None]

_PIECE_S = 1e-4  # worked at least, before a pause
_SHARE = 0.2  # of the time, while others work


def no_pace() -> None:
    """For work that nobody runs beside."""


class Pauses:
    """A Pace for one thread: it sleeps as often as leaves it a fifth of the time."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._since = time.perf_counter()

    def __call__(self) -> None:
        worked = time.perf_counter() - self._since
        if worked > _PIECE_S and self._is_busy():
            time.sleep(worked * (1 / _SHARE - 1))
            self._since = time.perf_counter()
