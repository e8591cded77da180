"""Counting downloads: many add one at a time, the database hears of them a few times a second.

After `close` every download is in the database. A process that is killed takes those of its last
`EVERY_S` with it, and while the database takes no writes, those since then.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter

from sqlalchemy.exc import SQLAlchemyError

from baigong.errors import BaigongError
from baigong.hub.manifest import Files
from baigong.hub.repositories import Repositories

EVERY_S = 0.25
_COUNTED = ("config.json", "adapter_config.json", "README.md")

_log = logging.getLogger(__name__)


class Downloads:
    """The counters of one process. Safe to share between threads."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._counts: Counter[int] = Counter()
        self._adding = threading.Lock()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None

    def count(self, repository: int) -> None:
        """Add one to the counter of a repository, by its id. Blocks for no longer than a moment."""
        with self._adding:
            self._counts[repository] += 1
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="downloads", daemon=True)
                self._writer.start()
        self._wanted.set()

    def close(self) -> None:
        """Write what is left. Blocks."""
        with self._adding:
            writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            self._wanted.set()
            writer.join()
            self._closing.clear()
        if not self._write():
            _log.error("%d downloads are lost.", self._counts.total())

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._closing.wait(EVERY_S)
            self._wanted.clear()
            if not self._write():
                self._wanted.set()

    def _write(self) -> bool:
        """Move the counts into the database; where it refuses, they stay."""
        with self._adding:
            counts, self._counts = self._counts, Counter()
        try:
            if counts:
                self._repositories.count_downloads(counts)
        except (BaigongError, SQLAlchemyError) as error:
            _log.warning("%d downloads are not written yet: %s", counts.total(), error)
            with self._adding:
                self._counts.update(counts)
            return False
        return True


def is_download(files: Files, path: str) -> bool:
    """Whether a repository counts as downloaded with this file: each whole one does once."""
    first = next((name for name in _COUNTED if name in files), path)
    return path == first or path.endswith(".gguf")
