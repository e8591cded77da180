"""How often a process that dies may be started again."""

from __future__ import annotations

import time
from collections import deque

MOST, WINDOW_S = 3, 60.0


class Restarts:
    """This many restarts within this time are a crash loop: none more before the time has passed."""

    def __init__(self) -> None:
        self._at: deque[float] = deque(maxlen=MOST)

    def wait_s(self) -> float:
        """Seconds until the next restart is allowed; 0 when one is."""
        if len(self._at) < MOST:
            return 0.0
        return max(0.0, self._at[0] + WINDOW_S - time.monotonic())

    def note(self) -> None:
        """One is being made."""
        self._at.append(time.monotonic())
