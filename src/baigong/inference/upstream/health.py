"""How an upstream has fared: whom to ask first, and when to ask again after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_REST_S, LONGEST_REST_S = 1.0, 60.0


class Health:
    """Failures in a row make ever longer rests; a probe says whether it can be reached at all.

    Attributes:
        reason: what went wrong last; empty while all is well.
        checked_at: when it was last probed, seconds since the epoch; None if never.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.reason = ""
        self.checked_at: float | None = None
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0
        self._is_reachable = True

    @property
    def is_well(self) -> bool:
        return self._is_reachable and self._clock() >= self._rests_until

    @property
    def rests_s(self) -> float:
        """Seconds until it should be asked again; 0 when it may be asked now."""
        return max(0.0, self._rests_until - self._clock())

    def failed(self, reason: str) -> None:
        """A request to it failed through its own fault."""
        rest = min(LONGEST_REST_S, FIRST_REST_S * 2**self._failures)
        self._failures += 1
        self._rests_until = self._clock() + rest
        self.reason = reason

    def answered(self) -> None:
        """A request was answered whole."""
        self._failures, self._rests_until, self._is_reachable = 0, 0.0, True
        self.reason = ""

    def probed(self, reason: str = "") -> bool:
        """A probe found it well, or gives the reason why not. True if it has just come back.

        A probe that goes well does not end the rest after failed requests: a server may answer
        probes and nothing else.
        """
        self.checked_at = time.time()
        is_back = not reason and not self._is_reachable
        if is_back:
            self.answered()
        self._is_reachable = not reason
        self.reason = reason or self.reason
        return is_back
