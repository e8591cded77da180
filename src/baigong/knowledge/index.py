"""Knowledge bases on disk or in a bucket: immutable versions, each whole or not there at all.

A version is two tables, `documents` and `chunks`, and a row in the `catalog`. The row is written
last and in one commit, so a build that was killed leaves tables without a row: nobody sees them,
and the next build of that name drops them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from baigong.errors import Conflict, DataProblems, InvalidInput, NotFound, Problem
from baigong.knowledge.build import Built, write_tables
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.sources import SourceFile, find_files
from baigong.knowledge.tables import (
    THE_INDEX,
    append,
    catalog_schema,
    connect,
    quoted,
    table_names,
)
from baigong.store.room import room_for
from baigong.types import Embed, Progress, Report

_FORMAT = 1  # of the tables, the terms and the parsers; a change here makes new versions
_CATALOG = "catalog"

T = TypeVar("T")


class KnowledgeVersion(msgspec.Struct, frozen=True):
    """A finished version. `bytes` counts the source files; `built_at` is seconds since the epoch."""

    name: str
    version: str
    documents: int
    chunks: int
    bytes: int
    embedder: str | None
    built_at: float
    warnings: tuple[Problem, ...] = ()

    @property
    def ref(self) -> str:
        """`name@version`, which every method that takes a knowledge base understands."""
        return f"{self.name}@{self.version}"


class KnowledgeDocument(msgspec.Struct, frozen=True):
    """A document in a version; `bytes` of its parsed text."""

    path: str
    title: str
    bytes: int
    chunks: int


class OpenVersion(msgspec.Struct, frozen=True):
    """A version with its tables open for reading."""

    version: KnowledgeVersion
    documents: Any
    chunks: Any


class KnowledgeStore:
    """All knowledge bases below one URL. Threads and processes may share it."""

    def __init__(self, url: str | Path) -> None:
        """`url` is a folder or what LanceDB understands, e.g. `s3://bucket/prefix`."""
        self.url = str(url)
        self._open: dict[str, OpenVersion] = {}
        self._mutex = threading.Lock()

    def build(
        self,
        name: str,
        sources: Sequence[Path],
        *,
        embed: Embed | None = None,
        report: Report | None = None,
        chunking: Chunking = DEFAULT_CHUNKING,
    ) -> KnowledgeVersion:
        """Parse, cut, embed and index files; the version that holds them.

        The version is a digest of the files, of `chunking` and of the embedder's name, so
        building the same again returns at once. Blocks for long: call it from a thread or a job,
        not from an event loop; `embed` runs in a loop of its own.

        Args:
            name: any words but `@` and `/`.
            sources: files and folders; a document's name is its path below its folder.
            embed: None for full text alone.
            report: told of the bytes read.

        Raises:
            InvalidInput: a source or the name is wrong.
            DataProblems: no file holds any text.
            Conflict: the same knowledge base is being built elsewhere.
            StorageFull: the disk is full.
        """
        _check_name(name)
        files, problems = find_files(sources)
        if not files:
            raise DataProblems(
                problems or [Problem(str(path), None, "", "holds no files.") for path in sources],
                hint="Give a folder with text, Markdown, HTML or PDF files.",
            )
        version = _digest(files, chunking, embed)
        with self._lock(name), room_for(THE_INDEX):
            done = self._find(name, version)
            if done is not None:
                return self._made_latest(done)
            self._sweep(name)
            tables = (_table(name, version, "documents"), _table(name, version, "chunks"))
            try:
                built = write_tables(
                    self._database, tables, files, chunking, embed, report or _silent
                )
                return self._finish(name, version, built, problems, embed)
            except BaseException:
                self._sweep(name)  # give the space back now; a kill leaves it to the next build
                raise

    def names(self) -> list[str]:
        """The knowledge bases that have a finished version."""
        return sorted({version.name for version in self._records()})

    def versions(self, name: str) -> list[KnowledgeVersion]:
        """The finished versions of a knowledge base, the one built last first; may be empty."""
        return self._records(f"name = {quoted(name)}")

    def get(self, knowledge: str) -> KnowledgeVersion:
        """The version that `name@version` or, for the one built last, `name` stands for.

        Raises:
            NotFound: there is none.
        """
        name, _, version = knowledge.partition("@")
        found = self.versions(name)
        if not found:
            raise NotFound.among("knowledge base", name, self.names(), param="knowledge")
        for candidate in found:
            if not version or candidate.version == version:
                return candidate
        known = [candidate.ref for candidate in found]
        raise NotFound.among("knowledge base", knowledge, known, param="knowledge")

    def documents(self, knowledge: str) -> list[KnowledgeDocument]:
        """What a version holds, by path."""
        columns = ["path", "title", "bytes", "chunks"]
        rows = self.read(
            knowledge, lambda opened: opened.documents.search().select(columns).to_list()
        )
        return sorted(
            (KnowledgeDocument(**row) for row in rows), key=lambda document: document.path
        )

    def text(self, knowledge: str, document: str) -> str:
        """The whole parsed text of a document; the bytes that passages' spans count in.

        Raises:
            NotFound: no such knowledge base, or no such document in it.
        """
        which = f"path = {quoted(document)}"
        rows = self.read(
            knowledge,
            lambda opened: opened.documents.search().where(which).select(["text"]).to_list(),
        )
        if not rows:
            known = [entry.path for entry in self.documents(knowledge)]
            raise NotFound.among("document", document, known, param="document")
        return str(rows[0]["text"])

    def delete(self, knowledge: str) -> None:
        """Delete `name@version`, or with a bare `name` all its versions.

        Raises:
            NotFound: there is none.
            Conflict: it is being built.
        """
        name, _, version = knowledge.partition("@")
        self.get(knowledge)
        with self._lock(name):
            which = f"name = {quoted(name)}"
            self._catalog.delete(f"{which} AND version = {quoted(version)}" if version else which)
            self._sweep(name)

    def open(self, knowledge: str) -> OpenVersion:
        """The tables of a version. They never change, so they stay open once they are.

        Raises:
            NotFound: there is none.
        """
        pinned = self._open.get(knowledge)  # only a `name@version` is ever a key
        if pinned is not None:
            return pinned
        version = self.get(knowledge)
        with self._mutex:
            opened = self._open.get(version.ref)
            if opened is None or opened.version.built_at != version.built_at:
                opened = OpenVersion(
                    version,
                    self._database.open_table(_table(version.name, version.version, "documents")),
                    self._database.open_table(_table(version.name, version.version, "chunks")),
                )
                self._open[version.ref] = opened
            return opened

    def read(self, knowledge: str, work: Callable[[OpenVersion], T]) -> T:
        """What `work` makes of a version's tables.

        Raises:
            NotFound: there is none, or another process deleted it meanwhile.
        """
        opened = self.open(knowledge)
        try:
            return work(opened)
        except RuntimeError as error:
            if "Not found" not in str(error):
                raise
        # Another process deleted the files under us, and perhaps built them anew.
        with self._mutex:
            self._open.pop(opened.version.ref, None)
        return work(self.open(knowledge))

    @cached_property
    def _database(self) -> Any:
        return connect(self.url)

    @cached_property
    def _catalog(self) -> Any:
        return self._database.create_table(_CATALOG, schema=catalog_schema(), exist_ok=True)

    def _records(self, where: str | None = None) -> list[KnowledgeVersion]:
        self._catalog.checkout_latest()  # another process may have built or deleted
        query = self._catalog.search()
        rows = (query.where(where) if where else query).to_list()
        rows.sort(key=lambda row: -row["built_at"])
        return [
            msgspec.structs.replace(
                msgspec.json.decode(row["record"], type=KnowledgeVersion),
                built_at=row["built_at"],
            )
            for row in rows
        ]

    def _find(self, name: str, version: str) -> KnowledgeVersion | None:
        found = self._records(f"name = {quoted(name)} AND version = {quoted(version)}")
        return found[0] if found else None

    def _made_latest(self, done: KnowledgeVersion) -> KnowledgeVersion:
        """Built again, it is again what the bare name means."""
        if self.versions(done.name)[0].version == done.version:
            return done
        now = time.time()
        which = f"name = {quoted(done.name)} AND version = {quoted(done.version)}"
        self._catalog.update(where=which, values={"built_at": now})
        return msgspec.structs.replace(done, built_at=now)

    def _finish(
        self,
        name: str,
        version: str,
        built: Built,
        problems: Sequence[Problem],
        embed: Embed | None,
    ) -> KnowledgeVersion:
        done = KnowledgeVersion(
            name,
            version,
            built.documents,
            built.chunks,
            built.bytes,
            None if embed is None else embed.name,
            time.time(),
            (*problems, *built.problems),
        )
        record = msgspec.json.encode(done).decode()
        row = {"name": name, "version": version, "built_at": done.built_at, "record": record}
        append(self._catalog, [row])
        if self._catalog.stats()["fragment_stats"]["num_fragments"] > 50:
            self._catalog.optimize()
        return done

    def _sweep(self, name: str) -> None:
        """Drop the tables of this name that no row of the catalog stands for."""
        alive = {version.version for version in self.versions(name)}
        prefix = _table_prefix(name)
        for table in table_names(self._database):
            if table.startswith(prefix) and table.removeprefix(prefix).split("-")[0] not in alive:
                self._database.drop_table(table, ignore_missing=True)
        with self._mutex:
            for ref in [ref for ref in self._open if ref.partition("@")[0] == name]:
                del self._open[ref]

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One writer for each name. The system lets go of the lock of a process that is killed.

        A bucket has no such locks: there the durable job that builds is the only writer.
        """
        if "://" in self.url:
            yield
            return
        folder = Path(self.url)
        folder.mkdir(parents=True, exist_ok=True)
        with room_for(THE_INDEX), (folder / f"{_table_prefix(name)}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
                raise Conflict(
                    f"The knowledge base '{name}' is being built.",
                    hint="Wait for it to finish, or stop that build.",
                ) from error
            yield


def _silent(progress: Progress) -> None:
    """For those who do not want to know."""


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 100 or re.search(r"[@/\\\x00-\x1f]", name):
        raise InvalidInput(
            f"'{name[:100]}' is not a name for a knowledge base.",
            hint="Use 1 to 100 characters, none of them @, / or \\.",
            param="name",
        )


def _digest(files: Sequence[SourceFile], chunking: Chunking, embed: Embed | None) -> str:
    """12 hex digits of everything that decides what a version holds."""
    content = (
        _FORMAT,
        [(file.name, file.digest) for file in files],
        chunking,
        None if embed is None else (embed.name, embed.size),
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]


def _table_prefix(name: str) -> str:
    """Readable as far as LanceDB's names allow, and different for different names."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name)[:32]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:10]}-"


def _table(name: str, version: str, kind: str) -> str:
    return f"{_table_prefix(name)}{version}-{kind}"
