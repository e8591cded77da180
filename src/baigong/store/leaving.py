"""Blobs on their way out of the store: in a folder they are moved aside, which takes no time, and then deleted."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from baigong.store.blobs import Blobs


class Leaving:
    """What leaves one store. All methods block."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._gone = None if blobs.root is None else blobs.root / "gone"

    def let_go(self, digests: Iterable[str], before: float) -> list[str]:
        """Take blobs away that were written before that time; those that are gone."""
        if self._gone is None:
            gone = [d for d in digests if _is_before(self._blobs.modified_at(d), before)]
            for digest in gone:
                self._blobs.delete(digest)
            return gone
        self._gone.mkdir(exist_ok=True)
        return [digest for digest in digests if self._move(digest, self._gone / digest, before)]

    def waiting(self) -> list[str]:
        """Those that are moved aside."""
        folder = self._gone
        return [] if folder is None or not folder.is_dir() else [p.name for p in folder.iterdir()]

    def empty(self) -> None:
        """Delete those."""
        for digest in self.waiting():
            assert self._gone is not None
            (self._gone / digest).unlink(missing_ok=True)

    def clear_halves(self, before: float) -> None:
        """Delete files that were being written when a process was killed before that time."""
        if self._blobs.root is None:
            return
        for path in self._blobs.root.glob("[0-9a-f][0-9a-f]/*#*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _move(self, digest: str, target: Path, before: float) -> bool:
        path = self._blobs.path(digest)
        assert path is not None
        try:
            if path.stat().st_mtime >= before:
                return False
            path.rename(target)
        except FileNotFoundError:
            return False
        if target.stat().st_mtime >= before:  # somebody has just put it again, and found it there
            target.rename(path)
            return False
        return True


def _is_before(at: float | None, before: float) -> bool:
    return at is not None and at < before
