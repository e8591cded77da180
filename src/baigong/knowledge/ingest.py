"""From a source to a knowledge base: only what changed is read, parsed, cut, embedded and written.

Documents go in by batches, each whole or not there at all, and each searchable as soon as it is
written. A run that was killed goes on from its last batch, for what it wrote is known to have been
read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

from baigong.compute import usable_cores
from baigong.errors import Conflict, Problem
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.source import Content, Entry, Gone, Source
from baigong.knowledge.formats import Unreadable
from baigong.knowledge.parse import Input, Parser
from baigong.knowledge.write import (
    BATCH_CHUNKS,
    Arriving,
    Known,
    Writer,
    Written,
    arriving,
    digest_of,
    known_of,
    sources_of,
)
from baigong.store.leases import lease
from baigong.types import Embed, Progress, Report

_BATCH_BYTES = 32 << 20
_READERS = 4  # entries that are read at once, and wait for being parsed


@dataclass(slots=True)
class Summary:
    """What an ingest did. `unchanged` entries were not read, or read and found the same."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    pages: int = 0
    chunks: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)


def ingest(
    bases: KnowledgeBases,
    name: str,
    sources: Sequence[Source],
    embed: Embed | None,
    report: Report | None = None,
    *,
    only: bool = False,
) -> Summary:
    """Bring a knowledge base to what its sources hold now; with `only`, it holds nothing else.

    Blocks for long: call it from a thread or a job, not from an event loop; `embed` runs in a loop
    of its own. It may be killed at any moment and started again.

    Raises:
        NotFound: there is no such knowledge base.
        Conflict: one of the sources is being ingested elsewhere.
        StorageFull: the disk is full; what was written before stays.
        BaigongError: a source cannot be listed.
    """
    began = time.monotonic()
    summary = Summary()
    with Parser(processes=usable_cores()) as parser, Writer(bases, name, embed) as writer:
        for source in sources:
            with lease(bases.database, f"ingest {name} {_short(source.name)}"):
                _Sync(source, parser, writer, summary, report).run()
        if only:
            for other in sources_of(bases, name) - {source.name for source in sources}:
                summary.removed += writer.forget(other)
        writer.tend()
    summary.seconds = time.monotonic() - began
    return summary


class _Sync:
    """One source brought over."""

    def __init__(
        self,
        source: Source,
        parser: Parser,
        writer: Writer,
        summary: Summary,
        report: Report | None,
    ) -> None:
        self._source = source
        self._parser = parser
        self._writer = writer
        self._summary = summary
        self._report = report or _silent
        self._gone: set[str] = set()  # listed, and no longer there when they were to be read
        self._parsing: dict[int, tuple[Entry, Content]] = {}

    def run(self) -> None:
        listing = self._source.list()
        self._summary.problems.extend(listing.problems)
        with self._writer.bases.database.read() as connection:
            known = known_of(connection, self._writer.name, self._source.name)
        if self._source.forgets and known and not listing.entries:
            raise Conflict(
                f"{self._source.name} is empty, where {len(known)} documents came from before.",
                hint="Is it mounted? Nothing was removed. To take them out, ingest the other sources "
                "with --only.",
            )
        wanted = [entry for entry in listing.entries if not _is_same(entry, known.get(entry.path))]
        self._summary.unchanged += len(listing.entries) - len(wanted)
        self._write(_batches(self._arriving(wanted, known)))
        if self._source.forgets:
            there = {entry.path for entry in listing.entries} - self._gone
            gone = known.keys() - there
            self._summary.removed += self._writer.remove(self._source.name, sorted(gone))

    def _write(self, batches: Iterator[list[Arriving]]) -> None:
        """Each is written while the next one is read, parsed and cut."""
        with ThreadPoolExecutor(1, "write") as pool:
            before: Future[list[Written]] | None = None
            for batch in batches:
                self._count(before)
                before = pool.submit(self._writer.write, batch)
            self._count(before)

    def _count(self, writing: Future[list[Written]] | None) -> None:
        for one in writing.result() if writing is not None else ():
            self._summary.added += one.is_new
            self._summary.changed += not one.is_new

    def _arriving(self, entries: Sequence[Entry], known: Mapping[str, Known]) -> Iterator[Arriving]:
        """The documents of entries that changed, as they come to be parsed."""
        for number, outcome in self._parser.parse_many(self._changed(entries, known)):
            entry, content = self._parsing.pop(number)
            if isinstance(outcome, Problem):
                self._note(entry, content.stamp, replace(outcome, file=entry.path))
                continue
            arrived = arriving(self._source.name, entry, content, outcome, self._writer.base)
            self._summary.pages += len(outcome.pages)
            self._summary.chunks += len(arrived.chunks)
            self._summary.bytes += len(content.data)
            yield arrived

    def _changed(self, entries: Sequence[Entry], known: Mapping[str, Known]) -> Iterator[Input]:
        """What is to be parsed; it waits in `_parsing` under its number."""
        clock = _Clock(entries, self._report)
        stamps = {path: one.stamp for path, one in known.items()}
        number = 0
        for entry, content in _read_ahead(self._source, entries, stamps):
            clock.passed(entry)
            before = known.get(entry.path)
            if isinstance(content, Gone):
                self._gone.add(entry.path)
            elif isinstance(content, Problem):
                self._note(entry, None, content)
            elif content is None:
                self._summary.unchanged += 1
                if before is not None and entry.stamp is not None:  # it need not be asked again
                    self._writer.seen(self._source.name, entry.path, entry.stamp, before.document)
            elif before is not None and digest_of(content) == before.digest:
                self._summary.unchanged += 1
                self._writer.seen(self._source.name, entry.path, content.stamp, before.document)
            else:
                self._parsing[number] = (entry, content)
                number += 1
                yield entry.path, content.data, content.suffix

    def _note(self, entry: Entry, stamp: str | None, problem: Problem) -> None:
        """Nothing comes of an entry; what was made of it before stays."""
        self._summary.problems.append(problem)
        if stamp is not None:
            self._writer.seen(self._source.name, entry.path, stamp, None, problem.message)


def _is_same(entry: Entry, known: Known | None) -> bool:
    return known is not None and entry.stamp is not None and entry.stamp == known.stamp


def _read_ahead(
    source: Source, entries: Sequence[Entry], stamps: Mapping[str, str | None]
) -> Iterator[tuple[Entry, Content | Gone | Problem | None]]:
    """Each entry with its content, in order, a few of them read before they are asked for."""

    def read(entry: Entry) -> Content | Gone | Problem | None:
        try:
            return source.read(entry, stamps.get(entry.path))
        except Gone as gone:
            return gone
        except Unreadable as error:
            return Problem(entry.path, None, "", f"{error} Skipped.")

    waiting = iter(entries)
    with ThreadPoolExecutor(_READERS, "read") as pool:
        ahead = [(entry, pool.submit(read, entry)) for entry in islice(waiting, _READERS)]
        while ahead:
            entry, found = ahead.pop(0)
            content = found.result()
            ahead += [(each, pool.submit(read, each)) for each in islice(waiting, 1)]
            yield entry, content


def _batches(arriving: Iterable[Arriving]) -> Iterator[list[Arriving]]:
    """Documents until they are worth a commit."""
    batch: list[Arriving] = []
    chunks = size = 0
    for one in arriving:
        batch.append(one)
        chunks += len(one.chunks)
        size += one.bytes
        if chunks >= BATCH_CHUNKS or size >= _BATCH_BYTES:
            yield batch
            batch, chunks, size = [], 0, 0
    if batch:
        yield batch


class _Clock:
    """Tells how much has been read: bytes where all sizes are known, else entries."""

    def __init__(self, entries: Sequence[Entry], report: Report) -> None:
        sizes = [entry.size_bytes for entry in entries]
        self._in_bytes = None not in sizes
        self._total = sum(size or 0 for size in sizes) if self._in_bytes else len(entries)
        self._done = 0
        self._began = time.monotonic()
        self._report = report

    def passed(self, entry: Entry) -> None:
        self._done += (entry.size_bytes or 0) if self._in_bytes else 1
        rate = self._done / max(1e-9, time.monotonic() - self._began)
        unit = "bytes" if self._in_bytes else "documents"
        self._report(Progress(self._done, self._total, unit, rate, note=entry.path))


def _short(source: str) -> str:
    """A lease's name has room for so much."""
    return source if len(source) <= 100 else hashlib.sha256(source.encode()).hexdigest()


def _silent(progress: Progress) -> None:
    """For those who do not want to know."""
