"""Commits: a repository's files at a moment, whole or not at all, and the branches and tags on them.

A branch moves from the commit that was looked at, or not at all: of two commits that race, the
second is made upon the first, or refused where it said what it was made for.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.hub.manifest import Entry, Files, Manifests, content_digest, folders_of
from baigong.hub.names import MAIN, check_path, check_ref
from baigong.store.database import Database
from baigong.store.hub_tables import awaited, commits, refs, repositories
from baigong.store.turns import take_turns

RefKind = Literal["branch", "tag", "pull"]
_PREFIXES: dict[str, RefKind] = {"refs/heads/": "branch", "refs/tags/": "tag"}
_SHORTEST = 7  # characters of a commit or a digest
_SHORTEST_CONTENT = 12  # of one that may be in any repository
_PINNED = re.compile(r"[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64}")  # as refs are written


class Commit(msgspec.Struct, frozen=True):
    """See the table. `number` counts the commits of a repository; times in seconds since the epoch."""

    id: str
    number: int
    parent: str | None
    manifest: str
    digest: str
    title: str
    message: str
    author: str
    facts: dict[str, Any]
    created_at: float


class Put(msgspec.Struct, frozen=True):
    """A file of these bytes, which are in the store. `entry.commit` is filled in."""

    path: str
    entry: Entry


class Remove(msgspec.Struct, frozen=True):
    """A file less, or with a `/` at its end a folder."""

    path: str


Change = Put | Remove


class Words(msgspec.Struct, frozen=True):
    """What a commit says of itself."""

    title: str
    author: str
    message: str = ""
    facts: dict[str, Any] = {}


class Ref(msgspec.Struct, frozen=True):
    """A branch, a tag or a pull request's branch, `refs/pr/N`."""

    kind: RefKind
    name: str
    commit: str
    message: str = ""


class Moved(Conflict):
    """A branch is not where whoever commits to it thinks."""

    status = 412
    code = "branch_moved"


class Lost(InvalidInput):
    """A commit names bytes that are not in the store."""

    code = "blob_missing"

    @classmethod
    def of(cls, digest: str) -> Lost:
        return cls(
            f"The bytes with the sha256 {digest} are not here.",
            hint="Upload the file again, then commit.",
            param="oid",
        )


class Commits:
    """The history of repositories, which are named by their id here. All methods block."""

    def __init__(
        self, database: Database, has_blob: Callable[[str], bool], manifests: Manifests
    ) -> None:
        """`has_blob` tells whether bytes of a digest are in the store."""
        self._database = database
        self._has_blob = has_blob
        self._manifests = manifests

    def resolve(self, repository: int, revision: str = MAIN) -> Commit:
        """A branch, a tag, a commit, the first characters of one, or those of its content's digest.

        Raises:
            NotFound: there is none; `code` is revision_not_found.
        """
        with self._database.read() as connection:
            return resolve(connection, repository, revision)

    def of_content(self, digest: str) -> Commit | None:
        """The oldest commit of any repository, deleted ones too, by the start of its content's digest."""
        if len(digest) < _SHORTEST_CONTENT:
            return None
        alike = commits.c.digest.startswith(digest, autoescape=True)
        with self._database.read() as connection:
            oldest = select(commits).where(alike).order_by(commits.c.created_at).limit(1)
            row = connection.execute(oldest).first()
        return None if row is None else _commit(row)

    def files(self, commit: Commit) -> Files:
        with self._database.read() as connection:
            return self._manifests.read(connection, commit.manifest)

    def commit(
        self,
        repository: int,
        changes: Sequence[Change],
        words: Words,
        *,
        branch: str = MAIN,
        parent: str | None = None,
    ) -> Commit:
        """Make the changes in order; where they change nothing, the commit that is there.

        Args:
            branch: as `resolve` knows it; a commit id is none.
            parent: what the branch must be at, or the first characters of it.

        Raises:
            NotFound: there is no such branch.
            Moved: it is not at `parent`.
            InvalidInput: a path, or the removal of what is not there; nothing is changed.
            Lost: bytes are missing.
        """
        with self._database.begin() as connection:
            _take_turns(connection, repository)
            ref = branch_of(connection, repository, branch)
            if parent and not ref.commit.startswith(parent):
                raise _moved(branch, ref.commit)
            before = resolve(connection, repository, ref.commit)
            files = dict(self._manifests.read(connection, before.manifest))
            fresh, is_changed = _apply(files, changes)
            if not is_changed:
                return before
            made = self._insert(connection, repository, before, files, fresh, words)
            if not _advance(connection, repository, ref, made.id):
                raise _moved(branch, "")
        return made

    def first(
        self,
        connection: Connection,
        repository: int,
        changes: Sequence[Change],
        words: Words,
        elsewhere: str = "",
    ) -> Commit:
        """The commit that a new repository begins with, and its branch; see `mirror`."""
        files: dict[str, Entry] = {}
        fresh, _ = _apply(files, changes)
        made = self._insert(connection, repository, None, files, fresh, words, elsewhere)
        self._refer(connection, repository, Ref("branch", MAIN, made.id))
        return made

    def mirror(
        self, repository: int, id: str, puts: Sequence[Put], words: Words, branch: str | None
    ) -> Commit:
        """A commit of another hub under its own id, whose bytes may come later.

        Args:
            repository: whose.
            id: 40 hex digits.
            puts: all of its files.
            words: what it says of itself.
            branch: what leads to it from now on, made where there is none.
        """
        with self._database.begin() as connection:
            _take_turns(connection, repository)
            one = _of(repository).where(commits.c.id == id)
            row = connection.execute(one).first()
            if row is None:
                files: dict[str, Entry] = {}
                fresh, _ = _apply(files, puts)
                made = self._insert(connection, repository, None, files, fresh, words, id)
            else:
                made = _commit(row)
            if branch is not None:
                ref = _ref_named(connection, repository, branch)
                if ref is None:
                    self._refer(connection, repository, Ref("branch", branch, id))
                elif ref.commit != id:
                    _advance(connection, repository, ref, id)
        return made

    def log(self, repository: int, commit: Commit) -> list[Commit]:
        """The commit and those that it was made upon, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(commits).where(
                    commits.c.repository == repository, commits.c.number <= commit.number
                )
            )
            known = {row.id: _commit(row) for row in rows}
        found, at = [], known.get(commit.id)
        while at is not None:
            found.append(at)
            at = known.get(at.parent or "")
        return found

    def of(self, repository: int, ids: Collection[str]) -> dict[str, Commit]:
        """Commits by their ids."""
        wanted, found = sorted(set(ids)), {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), 500):
                query = _of(repository).where(commits.c.id.in_(wanted[start : start + 500]))
                found.update({row.id: _commit(row) for row in connection.execute(query)})
        return found

    def refs(self, repository: int) -> list[Ref]:
        """Sorted by name."""
        with self._database.read() as connection:
            query = select(refs).where(refs.c.repository == repository).order_by(refs.c.name)
            return [_ref(row) for row in connection.execute(query)]

    def refer(self, repository: int, ref: Ref) -> None:
        """Make a branch or a tag.

        Raises:
            InvalidInput: its name.
            Conflict: there is one.
        """
        with self._database.begin() as connection:
            _take_turns(connection, repository)
            self._refer(connection, repository, ref)

    def forget(self, repository: int, kind: RefKind, name: str) -> None:
        """Delete a branch or a tag; its commits are collected when nothing reaches them.

        Raises:
            NotFound: there is none.
            InvalidInput: it is the branch main.
        """
        if kind == "branch" and name == MAIN:
            raise InvalidInput("The branch main cannot be deleted.", param="branch")
        one = (refs.c.repository == repository) & (refs.c.kind == kind) & (refs.c.name == name)
        with self._database.begin() as connection:
            _take_turns(connection, repository)
            if not connection.execute(delete(refs).where(one)).rowcount:
                raise _no_revision(name)

    def squash(self, repository: int, branch: str, words: Words) -> Commit:
        """Replace the history of a branch by one commit of the same files.

        Raises:
            NotFound: there is no such branch.
        """
        with self._database.begin() as connection:
            _take_turns(connection, repository)
            ref = branch_of(connection, repository, branch)
            before = resolve(connection, repository, ref.commit)
            files = dict(self._manifests.read(connection, before.manifest))
            words = msgspec.structs.replace(words, facts=before.facts)
            made = self._insert(connection, repository, None, files, set(files), words)
            if not _advance(connection, repository, ref, made.id):
                raise _moved(branch, "")
        return made

    def _insert(
        self,
        connection: Connection,
        repository: int,
        before: Commit | None,
        files: dict[str, Entry],
        fresh: Collection[str],
        words: Words,
        elsewhere: str = "",
    ) -> Commit:
        """A commit of `files`, of which those at the paths `fresh` are its own.

        `elsewhere` is the id that another hub gave it; its bytes may be there still."""
        newest = select(func.max(commits.c.number)).where(commits.c.repository == repository)
        number = (connection.scalar(newest) or 0) + 1
        digest, now = content_digest(files), time.time()
        parent = before.id if before else None
        said = [str(repository), parent, digest, words.title, words.message, words.author, now]
        id = elsewhere or hashlib.sha256(msgspec.json.encode([*said, number])).hexdigest()[:40]
        for path in fresh:
            files[path] = msgspec.structs.replace(files[path], commit=id)
        manifest = self._manifests.write(connection, files)
        made = Commit(
            id,
            number,
            parent,
            manifest,
            digest,
            words.title,
            words.message,
            words.author,
            words.facts,
            now,
        )
        row = {"repository": repository, **msgspec.structs.asdict(made)}
        connection.execute(insert(commits).values(row))
        # After the first write: whoever collects garbage waits for it, or was done before.
        digests = sorted({files[path].digest for path in fresh})
        if not elsewhere:
            self._check_blobs(digests)
        for start in range(0, len(digests), 500):
            some = awaited.c.digest.in_(digests[start : start + 500])
            connection.execute(delete(awaited).where(some))
        return made

    def _check_blobs(self, digests: Sequence[str]) -> None:
        for digest in digests:
            if not self._has_blob(digest):
                raise Lost.of(digest)

    def _refer(self, connection: Connection, repository: int, ref: Ref) -> None:
        if ref.kind != "pull":
            check_ref(ref.name)
        one = (refs.c.repository == repository) & (refs.c.name == ref.name)
        if connection.execute(select(refs.c.name).where(one, refs.c.kind == ref.kind)).first():
            raise Conflict(
                f"There is a {ref.kind} '{ref.name}' already.",
                hint="Delete it first, or use another name.",
            )
        row = {"repository": repository, **msgspec.structs.asdict(ref)}
        connection.execute(insert(refs).values(row))
        # After the write, as with blobs: it may just have been collected.
        there = select(commits.c.id).where(commits.c.repository == repository)
        if connection.execute(there.where(commits.c.id == ref.commit)).first() is None:
            raise _no_revision(ref.commit)


def resolve(connection: Connection, repository: int, revision: str) -> Commit:
    """See Commits.resolve."""
    # What is pinned by an id or a digest stays so, whatever its owner calls a tag later.
    pinned = _alike(connection, repository, revision) if _PINNED.fullmatch(revision) else None
    if pinned is not None:
        return _commit(pinned)
    named = _ref_named(connection, repository, revision)
    if named is not None:
        row = connection.execute(_of(repository).where(commits.c.id == named.commit)).first()
    else:
        row = _alike(connection, repository, revision) if len(revision) >= _SHORTEST else None
    if row is None:
        raise _no_revision(revision)
    return _commit(row)


def _alike(connection: Connection, repository: int, start: str) -> Row[Any] | None:
    """The first commit whose id or digest begins so: what comes later, from a stranger's pull
    request too, does not take its place."""
    alike = or_(
        commits.c.id.startswith(start, autoescape=True),
        commits.c.digest.startswith(start, autoescape=True),
    )
    query = _of(repository).where(alike).order_by(commits.c.number).limit(1)
    return connection.execute(query).first()


def branch_of(connection: Connection, repository: int, revision: str) -> Ref:
    """The branch, or pull request's branch, of a name.

    Raises:
        NotFound: there is none.
    """
    ref = _ref_named(connection, repository, revision)
    if ref is None or ref.kind == "tag":
        raise _no_revision(revision)
    return ref


def heads(ref: Ref) -> bool:
    """Whether a repository's page and searches show what is there."""
    return (ref.kind, ref.name) == ("branch", MAIN)


def _take_turns(connection: Connection, repository: int) -> None:
    """Of commits that race, each is made upon the one before."""
    take_turns(connection, f"commits {repository}")


def _ref_named(connection: Connection, repository: int, revision: str) -> Ref | None:
    kinds: tuple[str, ...] = ("branch", "tag", "pull")
    for prefix, kind in _PREFIXES.items():
        if revision.startswith(prefix):
            revision, kinds = revision.removeprefix(prefix), (kind,)
            break
    query = select(refs).where(refs.c.repository == repository, refs.c.name == revision)
    found = {row.kind: _ref(row) for row in connection.execute(query)}
    return next((found[kind] for kind in kinds if kind in found), None)


def _advance(connection: Connection, repository: int, ref: Ref, commit: str) -> bool:
    """Move a branch from where it was seen; False where it is there no more."""
    one = (refs.c.repository == repository) & (refs.c.kind == ref.kind) & (refs.c.name == ref.name)
    moved = connection.execute(
        update(refs).where(one, refs.c.commit == ref.commit).values(commit=commit)
    )
    if moved.rowcount and heads(ref):
        now = time.time()
        connection.execute(
            update(repositories)
            .where(repositories.c.id == repository)
            .values(head=commit, modified_at=now, changed_at=now)
        )
    return bool(moved.rowcount)


def _apply(files: dict[str, Entry], changes: Sequence[Change]) -> tuple[set[str], bool]:
    """Change `files`; the paths whose bytes are new, and whether anything is other than before."""
    before = dict(files)
    for change in changes:
        if isinstance(change, Remove):
            _remove(files, change.path)
        else:
            check_path(change.path)
            files[change.path] = change.entry
    clash = min(folders_of(files) & files.keys(), default=None)
    if clash is not None:
        raise InvalidInput(
            f"'{clash}' would be a file and a folder at once.",
            hint="Delete the one in the same commit.",
            param="path",
        )
    fresh = {p for p, entry in files.items() if not _is_same(before.get(p), entry)}
    return fresh, bool(fresh or before.keys() - files.keys())


def _is_same(before: Entry | None, after: Entry) -> bool:
    return before is not None and (before.digest, before.oid) == (after.digest, after.oid)


def _remove(files: dict[str, Entry], path: str) -> None:
    gone = [p for p in files if p.startswith(path)] if path.endswith("/") else [path]
    if not gone or gone[0] not in files:
        raise InvalidInput(
            f"There is no '{path[:200]}' to delete.", hint="Nothing was changed.", param="path"
        )
    for each in gone:
        del files[each]


def _no_revision(revision: str) -> NotFound:
    error = NotFound(
        f"There is no revision '{revision[:200]}'.",
        hint="Name a branch, a tag or a commit.",
        param="revision",
    )
    error.code = "revision_not_found"
    return error


def _moved(branch: str, at: str) -> Moved:
    return Moved(
        f"The branch '{branch}' has moved{f' to {at[:12]}' if at else ''}.",
        hint="A commit has happened since: look at it, and commit again.",
    )


def _of(repository: int) -> Select[Any]:
    return select(commits).where(commits.c.repository == repository)


def _commit(row: Row[Any]) -> Commit:
    return Commit(*(getattr(row, name) for name in Commit.__struct_fields__))


def _ref(row: Row[Any]) -> Ref:
    return Ref(row.kind, row.name, row.commit, row.message)
