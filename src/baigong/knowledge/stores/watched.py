"""The version of a table in a folder, which is asked for anew only where the folder has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

# A file system's clock may stand still this long; a change after such a time has a time of its own.
_STILL_NS = 2_000_000_000


class Watched:
    """Each version comes as a file into the folder, so that it changes with each.

    To ask LanceDB takes four threads and a fifth of a search, to look at the folder nearly nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """Without a folder the version is asked for each time."""
        self._folder = folder
        self._known: tuple[int, int] | None = None

    def version(self, ask: Callable[[], int]) -> int:
        changed = self._changed()  # before asking: what comes in between is seen the next time
        if self._known is not None and changed == self._known[0]:
            return self._known[1]
        version = ask()
        self._known = None if changed is None else (changed, version)
        return version

    def _changed(self) -> int | None:
        """When the folder did, in nanoseconds; None where it may change again at the same time."""
        if self._folder is None:
            return None
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            return None
        return changed if time.time_ns() - changed > _STILL_NS else None
