"""SHA-256 beside the writing: a large piece is counted in a thread of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from baigong.store.writing import Piece

_ALONE = 256 << 10  # bytes from which a thread is worth its while


class Sha256:
    """The digest of bytes that must not change until the next call."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._counting: Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def update(self, pieces: Sequence[Piece]) -> None:
        """Add pieces. Returns before they are counted where they are large."""
        self._wait()
        if sum(map(len, pieces)) < _ALONE:
            self._count(pieces)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sha256")
        self._counting = self._thread.submit(self._count, pieces)

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

    def _count(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._hash.update(piece)

    def _wait(self) -> None:
        if self._counting is not None:
            self._counting.result()
            self._counting = None
