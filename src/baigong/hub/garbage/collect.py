"""Takes away what nothing reaches, beside uploads and commits that run.

Every step may be the last one: what was taken away was unreached, and the next run goes on. What
nobody names is spared for the grace time. After that a blob goes in a transaction which has looked
at all commits that were made since the search, and during which none is made. A commit looks for
its blobs within its own transaction, so they are there and stay, or it is refused.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from baigong.hub.garbage.reach import Reached, Unreached, blobs_elsewhere, manifests_of, unreached
from baigong.hub.hub import Hub
from baigong.hub.names import KINDS
from baigong.store.blobs import Kept
from baigong.store.database import Database, stop_writers
from baigong.store.hub_tables import awaited, commits, manifests, repositories, scans
from baigong.store.leases import lease
from baigong.store.leaving import Leaving
from baigong.types import Progress, Report

GRACE_S = 86400.0
_BATCH = 200
_CLOCKS_S = 3600.0  # by which clocks of servers may differ
_WRITING_S = 3600.0  # nobody is at one small file for longer
_Any = TypeVar("_Any")


class Collected(msgspec.Struct, frozen=True):
    """What was taken away, or would be: counts, and bytes of blobs."""

    repositories: int
    commits: int
    pages: int
    blobs: int
    bytes: int
    checkouts: int


class Garbage:
    """Collects one installation's. All methods block."""

    def __init__(self, hub: Hub, database: Database, cache: Path) -> None:
        """`cache` is where revisions are checked out."""
        self._hub = hub
        self._leaving = Leaving(hub.blobs)
        self._database = database
        self._cache = cache

    def look(self, grace_s: float = GRACE_S) -> Collected:
        """What would be taken away now."""
        before = time.time() - grace_s
        with self._database.read() as connection:
            rows = unreached(connection, before)
            reached = self._reached(connection, before, rows.commits)
            pages = _pages(connection) - reached.pages
        blobs = list(self._unreached_blobs(reached, before))
        return Collected(
            repositories=len(rows.repositories),
            commits=len(rows.commits),
            pages=len(pages),
            blobs=len(blobs),
            bytes=sum(blob.size for blob in blobs),
            checkouts=len(self._old_checkouts(rows, before)),
        )

    def collect(self, report: Report, grace_s: float = GRACE_S) -> Collected:
        """Take it away.

        Args:
            report: hears how many blobs of how many are dealt with.
            grace_s: what was written, or deleted, less than so many seconds ago stays.

        Raises:
            Conflict: another process is collecting.
        """
        with lease(self._database, "garbage"):
            self._empty()  # what one that was killed has left
            before = time.time() - grace_s
            rows = self._delete_rows(before)
            began = time.time()
            with self._database.read() as connection:
                reached = self._reached(connection, before)
                pages = sorted(_pages(connection) - reached.pages)
            self._delete_pages(pages, reached, began)
            candidates = list(self._unreached_blobs(reached, before))
            count = num_bytes = 0
            for at, some in enumerate(_batches(candidates)):
                report(Progress(at * _BATCH, len(candidates), "blobs"))
                gone = self._delete_blobs(some, reached, before, began)
                count += len(gone)
                num_bytes += sum(blob.size for blob in gone)
            report(Progress(len(candidates), len(candidates), "blobs"))
            checkouts = self._old_checkouts(rows, before)
            for folder in checkouts:
                _remove(folder)
            self._hub.xorbs.clear_leftovers()
            self._leaving.clear_halves(min(before, time.time() - _WRITING_S))
        return Collected(
            repositories=len(rows.repositories),
            commits=len(rows.commits),
            pages=len(pages),
            blobs=count,
            bytes=num_bytes,
            checkouts=len(checkouts),
        )

    def _delete_rows(self, before: float) -> Unreached:
        """In one transaction with the search: a branch that is made meanwhile finds its commit gone."""
        with self._database.begin() as connection:
            stop_writers(connection)
            found = unreached(connection, before)
            for some in _batches(sorted(found.repositories)):
                connection.execute(delete(repositories).where(repositories.c.id.in_(some)))
            if found.commits:
                one = (commits.c.repository == bindparam("at")) & (commits.c.id == bindparam("of"))
                keys = [{"at": repository, "of": id} for repository, id in sorted(found.commits)]
                connection.execute(delete(commits).where(one), keys)
            connection.execute(delete(awaited).where(awaited.c.at < before))
        return found

    def _reached(
        self, connection: Connection, before: float, without: Collection[tuple[int, str]] = ()
    ) -> Reached:
        found = Reached()
        found.add_manifests(connection, manifests_of(connection, without=without))
        found.blobs.update(blobs_elsewhere(connection, before))
        return found

    def _unreached_blobs(self, reached: Reached, before: float) -> Iterator[Kept]:
        for blob in self._hub.blobs.all():
            if blob.modified_at < before and blob.digest not in reached.blobs:
                yield blob

    def _delete_pages(self, pages: Sequence[str], reached: Reached, began: float) -> None:
        for some in _batches(pages):
            with self._database.begin() as connection:
                self._look_again(connection, reached, began)
                gone = [page for page in some if page not in reached.pages]
                connection.execute(delete(manifests).where(manifests.c.digest.in_(gone)))

    def _delete_blobs(
        self, some: Sequence[Kept], reached: Reached, before: float, began: float
    ) -> list[Kept]:
        """Those that are gone."""
        with self._database.begin() as connection:
            self._look_again(connection, reached, began)
            named = blobs_elsewhere(connection, before, [blob.digest for blob in some])
            reached.blobs.update(named)
            wanted = [blob.digest for blob in some if blob.digest not in reached.blobs]
            gone = set(self._leaving.let_go(wanted, before))
            connection.execute(delete(scans).where(scans.c.digest.in_(gone)))
        self._empty(gone)
        return [blob for blob in some if blob.digest in gone]

    def _empty(self, gone: Collection[str] = ()) -> None:
        self._hub.xorbs.forget({*gone, *self._leaving.waiting()})
        self._leaving.empty()

    def _look_again(self, connection: Connection, reached: Reached, began: float) -> None:
        """Add what commits name that were made since the search. None is made meanwhile."""
        stop_writers(connection)
        reached.add_manifests(connection, manifests_of(connection, since=began - _CLOCKS_S))

    def _old_checkouts(self, rows: Unreached, before: float) -> list[Path]:
        """Folders of revisions that are gone; half of them are of processes that were killed."""
        folders = [each for kind in KINDS for each in (self._cache / kind).glob("*@*")]
        return [
            folder
            for folder in folders
            if folder.name.rpartition("@")[2] not in rows.checkouts
            and folder.stat().st_mtime < before
        ]


def _pages(connection: Connection) -> set[str]:
    return set(connection.execute(select(manifests.c.digest)).scalars())


def _batches(found: Sequence[_Any]) -> Iterator[Sequence[_Any]]:
    for start in range(0, len(found), _BATCH):
        yield found[start : start + _BATCH]


def _remove(folder: Path) -> None:
    """Under another name first: half a checkout never has its name."""
    partial = folder.with_name(f"{folder.name}.partial")
    if not folder.name.endswith(".partial"):
        shutil.rmtree(partial, ignore_errors=True)
        folder.rename(partial)
    shutil.rmtree(partial if partial.exists() else folder, ignore_errors=True)
