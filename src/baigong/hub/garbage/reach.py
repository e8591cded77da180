"""What is reached: commits from branches, tags, pull requests, releases and builds; blobs from all of these,
and from every other table that names some.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import msgspec
from sqlalchemy import Connection, or_, select, true

from baigong.hub.manifest import Entry
from baigong.store.hub_tables import (
    awaited,
    commits,
    discussions,
    manifests,
    refs,
    repositories,
)
from baigong.store.tables import aliases, documents, files, fine_tunings, jobs, releases, steps

_BATCH = 500
_HEARD_S = 3600.0  # whoever keeps a list of repositories in memory has heard of a deletion by then
_PIN = re.compile(r"@([0-9a-f]{7,64})(?![0-9A-Za-z])")  # owner/name@revision, in whatever text

CommitKey = tuple[int, str]  # repository, id


class Unreached(msgspec.Struct, frozen=True):
    """Rows that nothing reaches any more.

    Attributes:
        repositories: ids of those that were deleted.
        commits: those of them, and of others.
        checkouts: starts of the digests that folders of the remaining ones are named for.
    """

    repositories: frozenset[int]
    commits: frozenset[CommitKey]
    checkouts: frozenset[str]


class Reached:
    """What the commits that remain name.

    Attributes:
        pages: digests of manifests and their pages.
        blobs: sha256 of files.
    """

    def __init__(self) -> None:
        self.pages: set[str] = set()
        self.blobs: set[str] = set()

    def add_manifests(self, connection: Connection, roots: Collection[str]) -> None:
        """What the manifests of these digests list."""
        new = [root for root in set(roots) if root not in self.pages]
        self.pages.update(new)
        for _, content in _contents(connection, new):
            listed = set(msgspec.msgpack.decode(content, type=dict[str, str]).values())
            pages = listed - self.pages
            self.pages |= pages
            for _, page in _contents(connection, pages):
                entries = msgspec.msgpack.decode(page, type=dict[str, Entry]).values()
                self.blobs.update(entry.digest for entry in entries)


def unreached(connection: Connection, before: float) -> Unreached:
    """The rows that were made, or whose repository was deleted, before that time."""
    pins = _pins(connection)
    lengths = sorted({len(pin) for pin in pins})
    roots = _roots(connection)
    present = connection.execute(
        select(repositories.c.id, repositories.c.deleted_at, repositories.c.settings)
    ).all()
    deleted = {row.id: row.deleted_at for row in present}
    # What another hub had at a commit may not be there any more.
    whole = {row.id for row in present if row.settings.get("mirror") or row.settings.get("pinned")}
    columns = (
        commits.c.repository,
        commits.c.id,
        commits.c.parent,
        commits.c.digest,
        commits.c.created_at,
    )
    history: dict[int, dict[str, tuple[str | None, str, float]]] = defaultdict(dict)
    for row in connection.execute(select(*columns)):
        history[row.repository][row.id] = (row.parent, row.digest, row.created_at)
    gone: set[CommitKey] = set()
    kept: set[int] = set()
    checkouts: set[str] = set()
    for repository, known in history.items():
        at = deleted[repository]
        if at is not None:
            reached: Collection[str] = ()
        else:
            reached = known if repository in whole else _ancestors(known, roots[repository])
        for id, (_, digest, created_at) in known.items():
            is_pinned = any(digest[:n] in pins or id[:n] in pins for n in lengths)
            is_young = (created_at if at is None else at) >= before
            if id in reached or is_pinned or is_young:
                kept.add(repository)
                checkouts.add(digest[:16])
            else:
                gone.add((repository, id))
    heard = min(before, time.time() - _HEARD_S)
    left = {id for id, at in deleted.items() if at is not None and at < heard and id not in kept}
    return Unreached(frozenset(left), frozenset(gone), frozenset(checkouts))


def manifests_of(
    connection: Connection, *, since: float = 0.0, without: Collection[CommitKey] = ()
) -> set[str]:
    """Digests of the manifests of commits that were made since that time."""
    query = select(commits.c.repository, commits.c.id, commits.c.manifest)
    rows = connection.execute(query.where(commits.c.created_at >= since))
    return {row.manifest for row in rows if (row.repository, row.id) not in without}


def blobs_elsewhere(
    connection: Connection, before: float, among: Sequence[str] | None = None
) -> Iterator[str]:
    """Blobs that other tables than those of commits name; `among` these, or all.

    What expired, or was last spoken of, before that time names none.
    """
    alive = or_(files.c.expires_at.is_(None), files.c.expires_at >= before)
    for column, condition in (
        (files.c.blob, alive),
        (documents.c.blob, true()),
        (awaited.c.digest, awaited.c.at >= before),
    ):
        query = select(column).where(condition).distinct()
        if among is not None:
            query = query.where(column.in_(among))
        yield from connection.execute(query).scalars()


def _roots(connection: Connection) -> dict[int, set[str]]:
    """Commits that have a name, or that a pull request speaks of, by repository."""
    found: dict[int, set[str]] = defaultdict(set)
    for row in connection.execute(select(refs.c.repository, refs.c.commit)):
        found[row.repository].add(row.commit)
    spoken = select(discussions.c.repository, discussions.c.base, discussions.c.merged)
    for repository, base, merged in connection.execute(spoken):
        found[repository] |= {base, merged} - {""}
    return found


def _ancestors(known: dict[str, tuple[str | None, str, float]], roots: Collection[str]) -> set[str]:
    """The commits that are roots, and those that they were made upon."""
    found: set[str] = set()
    for root in roots:
        at: str | None = root
        while at is not None and at in known and at not in found:
            found.add(at)
            at = known[at][0]
    return found


def _pins(connection: Connection) -> set[str]:
    """Revisions that releases, other names of models and unfinished builds stand on."""
    unfinished = select(steps.c.output).join(jobs, jobs.c.id == steps.c.job)
    queries = (
        select(releases.c.content),
        select(aliases.c.adapter),
        select(fine_tunings.c.asked),
        unfinished.where(jobs.c.state != "done"),
    )
    found: set[str] = set()
    for query in queries:
        for value in connection.execute(query).scalars():
            found.update(_PIN.findall(json.dumps(value)))
    return found


def _contents(connection: Connection, digests: Collection[str]) -> Iterator[tuple[str, bytes]]:
    wanted = sorted(digests)
    for start in range(0, len(wanted), _BATCH):
        some = manifests.c.digest.in_(wanted[start : start + _BATCH])
        for row in connection.execute(select(manifests).where(some)):
            yield row.digest, bytes(row.content)
