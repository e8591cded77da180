"""Chunks in LanceDB tables: a folder or a bucket, any number of readers in any process.

A table for each knowledge base, a column for each metadata key and kind of value, and a branch for
each pinned state: a branch is one small file, and cleaning up spares what it refers to.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from typing_extensions import override

from baigong.compute import usable_cores
from baigong.errors import NotFound, Unsupported
from baigong.knowledge.stores.arrow import hits_of, metadata_field, schema_of, table_of
from baigong.knowledge.stores.indexes import (
    INDEX_FROM_ROWS,
    KEPT,
    PROBES,
    create,
    create_missing,
    is_bare,
    is_worn,
    search_indexes,
    words_indexes,
)
from baigong.knowledge.stores.mirror import Mirror, Mirrors
from baigong.knowledge.stores.parts import NOT_MIRRORED
from baigong.knowledge.stores.port import (
    EVERYTHING,
    ChunkRow,
    Chunks,
    Hit,
    Overtaken,
    Scope,
    Stores,
)
from baigong.knowledge.stores.rows import (
    THE_CHUNKS,
    check_keys,
    check_query,
    check_size,
    check_vectors,
    checked_name,
    metadata_columns,
)
from baigong.knowledge.stores.sql import columns_of, condition, of_documents
from baigong.knowledge.stores.watched import Watched
from baigong.store.buckets import is_plain_http
from baigong.store.room import room_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_THREADS = 4  # at least, in which LanceDB computes

_REFINE = 3  # times the chunks wanted are compared again with their exact vectors
_TEXT = 2000  # bytes of a chunk beside its vector, to see whether it is worth reading all of them
_LISTED = 1000  # numbers in one condition


class LanceStores(Stores):
    """All knowledge bases below one URL. Threads and processes may share it."""

    def __init__(
        self,
        url: str | Path,
        *,
        index_from: int = INDEX_FROM_ROWS,
        mirrors: Mirrors | None = None,
    ) -> None:
        """`url` is a folder or what LanceDB understands, e.g. `s3://bucket/prefix`."""
        self.url = str(url)
        self._index_from = index_from
        self._mirrors = mirrors or Mirrors()
        self._open: dict[str, LanceChunks] = {}
        self._mutex = threading.Lock()

    @override
    def open(self, key: str, vector_size: int | None) -> LanceChunks:
        checked_name(key, "key")
        with self._mutex:
            chunks = self._open.get(key)
            if chunks is None:
                folder = None if "://" in self.url else Path(self.url, f"{key}.lance", "_versions")
                chunks = LanceChunks(
                    lambda: self._table(key, vector_size),
                    self._index_from,
                    self._mirrors,
                    Watched(folder),
                )
                self._open[key] = chunks
        check_size(chunks.vector_size, vector_size, key)
        return chunks

    @override
    def drop(self, key: str) -> None:
        checked_name(key, "key")
        with self._mutex:
            chunks = self._open.pop(key, None)
            if chunks is not None:
                chunks.close()
            _run(self._database.drop_table(key, ignore_missing=True))

    @cached_property
    def _database(self) -> Any:
        # It reports each new table as a warning on standard error; only set where nobody has.
        os.environ.setdefault("LANCEDB_LOG", "error")
        # With two cores it computes in one thread alone, and whoever reads or writes waits for
        # seconds behind an index that is being built. The system shares cores out better.
        os.environ.setdefault("LANCE_CPU_THREADS", str(max(_THREADS, usable_cores() - 2)))
        import lancedb  # here, for it takes seconds and 150 MB

        with room_for(THE_CHUNKS):
            if "://" not in self.url:
                Path(self.url).mkdir(parents=True, exist_ok=True)
            # Each read looks for a newer version: 0.2 ms in a folder.
            connecting = lancedb.connect_async(
                self.url,
                read_consistency_interval=timedelta(0),
                storage_options={"allow_http": "true"} if is_plain_http() else None,
            )
            return _run(connecting)

    def _table(self, key: str, vector_size: int | None) -> Any:
        with room_for(THE_CHUNKS):
            try:
                table = _run(self._database.open_table(key))
            except ValueError as error:
                if "not found" not in str(error):
                    raise
                schema = schema_of(vector_size)
                table = _run(self._database.create_table(key, schema=schema, exist_ok=True))
            # There from the first row on: without an index, words cannot be searched for at all.
            _run(create_missing(table, words_indexes()))
        return table


class LanceChunks(Chunks):
    """The chunks of a table, or of a branch of it that nobody writes to."""

    def __init__(
        self,
        reopen: Callable[[], Any],
        index_from: int,
        mirrors: Mirrors,
        watched: Watched,
        pin: str | None = None,
    ) -> None:
        self._reopen = reopen
        self._index_from = index_from
        self._watched = watched
        self._pin = pin
        self._pinned: dict[str, LanceChunks] = {}  # by branch
        self._mirrors = mirrors
        self._mirror = Mirror(mirrors, self._whole)
        self._table = reopen()
        schema = _run(self._table.schema())
        self._columns = frozenset(schema.names)
        vectors = schema.field("vector").type if "vector" in schema.names else None
        self.vector_size: int | None = None if vectors is None else vectors.list_size

    @override
    def replace(self, documents: Collection[int], rows: Sequence[ChunkRow]) -> None:
        table = self._writable()
        check_vectors(rows, self.vector_size)
        with room_for(THE_CHUNKS):
            metadata = metadata_columns(rows)
            self._widen(table, metadata)
            old = self._held(table, documents)
            if not rows:
                if old:
                    done = _run(table.delete(of_documents(old)))
                    self._mirror.follow(done.version, old, None)
                return
            data = table_of(rows, metadata, _run(table.schema()))
            done = _run(_exchange(table, old, data) if old else table.add(data))
            self._mirror.follow(done.version, old, data)

    @property
    @override
    def is_in_memory(self) -> bool:
        return self._mirror.is_read

    @override
    def words(self, terms: Sequence[str], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        if not terms or limit < 1:
            return []
        inside = self._mirror.within(self._version(), scope)
        if inside is not None:
            return hits_of(*inside.words(terms, limit))
        return self._search([_matching(terms)], limit, scope)[0]

    @override
    def near(self, vector: NDArray[np.float32], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        check_query(vector, self.vector_size)
        if limit < 1:
            return []
        inside = self._mirror.within(self._version(), scope)
        found = None if inside is None else inside.near(vector, limit)
        if found is not None:
            return hits_of(*found)
        return self._search([_nearest(vector)], limit, scope)[0]

    @override
    def both(
        self,
        terms: Sequence[str],
        vector: NDArray[np.float32],
        limit: int,
        scope: Scope = EVERYTHING,
    ) -> tuple[list[Hit], list[Hit]]:
        check_query(vector, self.vector_size)
        if not terms or limit < 1:
            return [], self.near(vector, limit, scope)
        inside = self._mirror.within(self._version(), scope)
        if inside is None:
            found = self._search([_matching(terms), _nearest(vector)], limit, scope)
            return found[0], found[1]
        by_words, nearest = hits_of(*inside.words(terms, limit)), inside.near(vector, limit)
        if nearest is None:
            return by_words, self._search([_nearest(vector)], limit, scope)[0]
        return by_words, hits_of(*nearest)

    @override
    def counts(self, documents: Collection[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for some in _pieces(sorted(documents)):
            numbers = self._read(partial(_documents, some))
            found |= {each["values"].as_py(): each["counts"].as_py() for each in numbers}
        return found

    @override
    def count(self) -> int:
        return int(self._read(lambda table: table.count_rows()))

    @override
    def tend(self) -> bool:
        table = self._writable()
        with room_for(THE_CHUNKS), _unless_overtaken():
            rows = _run(table.count_rows())
            worn = _run(is_worn(table))
            if worn and _run(is_bare(table)):
                _run(create(table, words_indexes()))
            elif worn:
                # Compacts, adds rows to the indexes, and lets go of old versions.
                _run(table.optimize(cleanup_older_than=KEPT))
            if rows < self._index_from:
                return worn
            wanted = search_indexes(_run(table.schema()).names, rows)
            return _run(create_missing(table, wanted)) or worn

    @override
    def pin(self, name: str) -> None:
        checked_name(name, "pin")
        table = self._writable()
        with room_for(THE_CHUNKS):
            if self._branch(name) is None:
                # A kill leaves a branch that is not listed and cannot be made again, hence a name
                # that nobody had before.
                _run(table.branches.create(f"{name}.{secrets.token_hex(8)}"))

    @override
    def unpin(self, name: str) -> None:
        checked_name(name, "pin")
        branch = self._branch(name)
        if branch is not None:
            _run(self._writable().branches.delete(branch))
            if branch in self._pinned:
                self._pinned.pop(branch).close()

    @override
    def pinned(self, name: str) -> LanceChunks:
        checked_name(name, "pin")
        branch = self._branch(name)
        if branch is None:
            names = [known.partition(".")[0] for known in self._branches()]
            raise NotFound.among("pin", name, names, param="pin")
        if branch not in self._pinned:
            table = self._table
            self._pinned[branch] = LanceChunks(
                lambda: _run(table.branches.checkout(branch)),
                self._index_from,
                self._mirrors,
                Watched(None),
                name,
            )
        return self._pinned[branch]

    def _branch(self, name: str) -> str | None:
        return next((each for each in self._branches() if each.partition(".")[0] == name), None)

    def _branches(self) -> list[str]:
        return list(self._read(lambda table: table.branches.list()))

    def _writable(self) -> Any:
        if self._pin is not None:
            raise Unsupported(f"The pinned state '{self._pin}' never changes.")
        return self._table

    def _widen(self, table: Any, metadata: Iterable[str]) -> None:
        """Columns for metadata that the table has not seen before: one commit without any rows."""
        self._columns = frozenset(_run(table.schema()).names)
        new = sorted(name for name in metadata if name not in self._columns)
        check_keys(new, self._columns)
        if new:
            _run(table.add_columns([metadata_field(name) for name in new]))
            self._columns |= set(new)

    def _held(self, table: Any, documents: Collection[int]) -> list[int]:
        """Those of the documents that may have chunks; none where none has."""
        pieces = _pieces(sorted(documents))
        return [
            number
            for some in pieces
            if _run(table.count_rows(of_documents(some)))
            for number in some
        ]

    def _version(self) -> int:
        return self._pinned_version if self._pin else self._watched.version(self._newest)

    @cached_property
    def _pinned_version(self) -> int:
        return self._newest()

    def _newest(self) -> int:
        return int(self._read(lambda table: table.version()))

    def _search(self, searches: Sequence[_Search], limit: int, scope: Scope) -> list[list[Hit]]:
        """What the index finds by each of these searches, all at once."""

        async def found(table: Any) -> Any:
            if scope.where is not None and not columns_of(scope.where) <= self._columns:
                # Another process may have added some.
                self._columns = frozenset((await table.schema()).names)
            where = condition(scope, self._columns)
            queries = [
                one.begin(table).select(["shown", one.score]).limit(limit) for one in searches
            ]
            narrow = [query.where(where) if where else query for query in queries]
            return await asyncio.gather(*(query.to_arrow() for query in narrow))

        hits = []
        for one, table in zip(searches, self._read(found), strict=True):
            scores = table[one.score].to_pylist()
            if one.score == "_distance":
                scores = [1.0 - distance for distance in scores]
            hits.append(hits_of(table["shown"].to_pylist(), scores))
        return hits

    def _whole(self, budget: int) -> tuple[int, Any] | None:
        """A version and all of its rows but what only writing needs.

        None where they are beyond the budget, or where their files go away meanwhile.
        """

        async def rows() -> tuple[int, Any] | None:
            version = await table.version()
            if self._pin is None:  # which never changes
                await table.checkout(version)
            each = 5 * (self.vector_size or 0) + _TEXT  # a quarter of the vectors lies there twice
            if await table.count_rows() * each > budget:
                return None
            names = [name for name in (await table.schema()).names if name not in NOT_MIRRORED]
            return version, await table.query().select(names).to_arrow()

        try:
            table = self._reopen()
            return _run(rows())
        except (RuntimeError, ValueError) as error:
            if "not found" not in str(error).lower():
                raise
            return None

    def close(self) -> None:
        """Let go of what is in memory."""
        for chunks in self._pinned.values():
            chunks.close()
        self._mirror.close()

    def _read(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """What `work` makes of the table, once more where its files went away under it."""
        try:
            return _run(work(self._table))
        except (RuntimeError, ValueError) as error:
            if "not found" not in str(error).lower():
                raise
        self._table = self._reopen()
        return _run(work(self._table))


class _Search(NamedTuple):
    """A query of a table, and the column in which it says how good a row is."""

    begin: Callable[[Any], Any]
    score: str


def _matching(terms: Sequence[str]) -> _Search:
    from lancedb.query import MatchQuery

    # It has no operators, so nothing that a person types can be a syntax error.
    match = MatchQuery(" ".join(terms), "terms")
    return _Search(lambda table: table.query().nearest_to_text(match), "_score")


def _nearest(vector: NDArray[np.float32]) -> _Search:
    def begin(table: Any) -> Any:
        query = table.vector_search(vector).distance_type("cosine")
        return query.nprobes(PROBES).refine_factor(_REFINE)

    return _Search(begin, "_distance")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """In LanceDB's own loop. Its blocking methods go there and back up to seven times a search."""
    from lancedb.background_loop import LOOP

    done: T = LOOP.run(work)
    return done


async def _exchange(table: Any, documents: Iterable[int], data: Any) -> Any:
    """These documents' rows go and `data` comes, in one commit.

    LanceDB can do both at once only in a merge. The batch of `data` is new, so that no row matches:
    all of them are inserted, and of the others those of the documents deleted.
    """
    merge = table.merge_insert("batch").when_not_matched_insert_all()
    return await merge.when_not_matched_by_source_delete(of_documents(documents)).execute(data)


async def _documents(some: Sequence[int], table: Any) -> Any:
    query = table.query().where(of_documents(some)).select(["document"])
    return (await query.to_arrow())["document"].value_counts()


@contextmanager
def _unless_overtaken() -> Iterator[None]:
    """Rows that come while a table is compacted are no hindrance, rows that go are."""
    try:
        yield
    except RuntimeError as error:
        if "commit conflict" not in str(error).lower():
            raise
        raise Overtaken("The chunks changed while they were being compacted.") from error


def _pieces(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[at : at + _LISTED] for at in range(0, len(numbers), _LISTED))
