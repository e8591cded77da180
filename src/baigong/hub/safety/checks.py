"""Looks over what is new in a commit before it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from sqlalchemy import Connection, select

from baigong.errors import InvalidInput, NotFound
from baigong.hub.commits import Change, Lost, Put
from baigong.hub.manifest import Entry, Files
from baigong.hub.repositories import Repository
from baigong.hub.safety.findings import Finding, Findings, Noted, Unsafe, is_refused
from baigong.hub.safety.looking import VERSION, look, suffix_of
from baigong.store.blobs import Blobs
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import scans

LARGEST = 1 << 39  # bytes of a file
MOST_CHANGES = 25_000  # in a commit
MOST_IN_FOLDER = 10_000  # files side by side
_AT_ONCE = 8

_Key = tuple[str, str]  # digest, suffix


class Checks:
    """What may be in a repository. All methods block."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def check(self, repository: Repository, changes: Sequence[Change], before: Files) -> Findings:
        """Look at what a commit would bring.

        Args:
            repository: that it is for.
            changes: as `Commits.commit` takes them.
            before: the files that are there.

        Raises:
            InvalidInput: more, or larger, than a repository may hold.
            Lost: bytes are missing.
            Unsafe: something may not be in this repository.
        """
        fresh = {
            change.path: change.entry
            for change in changes
            if isinstance(change, Put) and not _is_same(before.get(change.path), change.entry)
        }
        _check_sizes(changes, fresh, before)
        found = self._found(fresh)
        noted = [
            Noted(path, finding)
            for path in sorted(fresh)
            for finding in [*_loaders(repository, path), *found[_key(path, fresh[path])]]
        ]
        allows = repository.settings.allows_code
        bad = [n for n in noted if is_refused(n.finding, repository.kind, allows_code=allows)]
        if bad:
            raise Unsafe.of(repository.name, bad)
        return Findings(tuple(noted))

    def known(self, files: Files) -> dict[str, list[Finding]]:
        """What was found in files when they came, by path; those that nothing is known of are not in it."""
        with self._database.read() as connection:
            kept = _kept(connection, {_key(path, entry) for path, entry in files.items()})
        named = {path: kept.get(_key(path, entry)) for path, entry in files.items()}
        return {path: found for path, found in named.items() if found is not None}

    def look(self, files: Files) -> dict[str, list[Finding]]:
        """What is in files, by path: those that were not looked at yet are read."""
        found = self._found(files)
        return {path: found[_key(path, entry)] for path, entry in files.items()}

    def _found(self, files: Files) -> dict[_Key, list[Finding]]:
        wanted = {_key(path, entry): entry for path, entry in files.items()}
        with self._database.read() as connection:
            found = _kept(connection, wanted.keys())
        new = [key for key in wanted if key not in found]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            looked = dict(
                zip(new, pool.map(lambda key: self._look(key, wanted[key]), new), strict=True)
            )
        _keep(self._database, looked)
        return found | looked

    def _look(self, key: _Key, entry: Entry) -> list[Finding]:
        try:
            return look(lambda a, b: self._blobs.read(entry.digest, a, b), entry.size, key[1])
        except NotFound as error:
            raise Lost(
                f"The bytes with the sha256 {entry.digest} are not here.",
                hint="Upload the file again, then commit.",
                param="oid",
            ) from error


def _check_sizes(changes: Sequence[Change], fresh: Files, before: Files) -> None:
    if len(changes) > MOST_CHANGES:
        raise _too_many(f"The commit has {len(changes)} changes; {MOST_CHANGES} are allowed.")
    for path, entry in fresh.items():
        if entry.size > LARGEST:
            raise InvalidInput(
                f"'{path[:200]}' has {entry.size} bytes; {LARGEST} are allowed.",
                hint="Split it.",
                param="size",
            )
    folders = Counter(path.rpartition("/")[0] for path in {*before, *fresh})
    for folder in {path.rpartition("/")[0] for path in fresh}:
        if folders[folder] > MOST_IN_FOLDER:
            raise _too_many(
                f"The folder '{folder[:200]}' would have {folders[folder]} files; "
                f"{MOST_IN_FOLDER} are allowed."
            )


def _too_many(said: str) -> InvalidInput:
    return InvalidInput(said, hint="Use several commits or folders.", param="path")


def _loaders(repository: Repository, path: str) -> list[Finding]:
    """The script that loads a dataset, which is called as the dataset."""
    if repository.kind != "dataset" or path != f"{repository.name.partition('/')[2]}.py":
        return []
    return [Finding("loader", "is a script that loads the dataset, which runs it.")]


def _is_same(before: Entry | None, after: Entry) -> bool:
    return before is not None and before.digest == after.digest


def _key(path: str, entry: Entry) -> _Key:
    return entry.digest, suffix_of(path)


def _kept(connection: Connection, keys: Iterable[_Key]) -> dict[_Key, list[Finding]]:
    digests, found = sorted({digest for digest, _ in keys}), {}
    for start in range(0, len(digests), 500):
        query = select(scans).where(
            scans.c.digest.in_(digests[start : start + 500]), scans.c.version == VERSION
        )
        for row in connection.execute(query):
            found[row.digest, row.suffix] = msgspec.convert(row.findings, list[Finding])
    return found


def _keep(database: Database, looked: Mapping[_Key, list[Finding]]) -> None:
    rows = [
        {
            "digest": digest,
            "suffix": suffix,
            "version": VERSION,
            "findings": msgspec.to_builtins(findings),
        }
        for (digest, suffix), findings in looked.items()
    ]
    with database.begin() as connection:
        insert_missing(connection, scans, rows)
