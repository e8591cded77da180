"""SHA-256 beside the writing: a large piece is counted in a thread of its own."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

_ALONE = 256 << 10  # bytes from which that is worth a thread


class Sha256:
    """The digest of pieces that must not change until the next call."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._counting: Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def update(self, piece: bytes | memoryview) -> None:
        """Add a piece. Returns before it is counted where it is large."""
        self._wait()
        if len(piece) < _ALONE:
            self._hash.update(piece)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sha256")
        self._counting = self._thread.submit(self._hash.update, piece)

    def hexdigest(self) -> str:
        self._wait()
        return self._hash.hexdigest()

    def mark(self) -> Sha256:
        """What has been counted up to here, to go on from."""
        self._wait()
        other = Sha256()
        other._hash = self._hash.copy()
        return other

    def close(self) -> None:
        """End its thread."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _wait(self) -> None:
        if self._counting is not None:
            self._counting.result()
            self._counting = None
