"""Pushed documents that arrived together, written in one commit; a bad one fails alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import select

from baigong.errors import BaigongError, InvalidInput, Problem
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.connectors.source import Content, Entry
from baigong.knowledge.formats import Document
from baigong.knowledge.parse import Parser
from baigong.knowledge.records import Base, parts_of
from baigong.knowledge.write import Arriving, Writer, arriving
from baigong.store.tables import documents, knowledge_entries
from baigong.types import Embed

_PARSER = Parser()  # of texts: these need no process


class PushedDocument(msgspec.Struct, frozen=True):
    """A document as a caller sends it; `path` is its id. `chunking` is the base's where None."""

    path: str
    content: Content
    chunking: Chunking | None = None

    @property
    def file_name(self) -> str:
        """What tells the kind."""
        return f"{self.path}{self.content.suffix or ''}"


class Pushed(msgspec.Struct, frozen=True):
    """What became of a document.

    Attributes:
        document: its name in the knowledge base, which passages carry.
        state: `overtaken` where a later one of its path came along, which is there now; `absent`
            where there was nothing to remove.
    """

    path: str
    document: str
    state: Literal["added", "changed", "unchanged", "overtaken", "removed", "absent"]
    chunks: int = 0


class Work(msgspec.Struct, frozen=True):
    """One document to put, or without one a path to remove. `parsed` is what was parsed apart."""

    source: str
    path: str
    document: PushedDocument | None = None
    parsed: Document | Problem | None = None

    @property
    def size(self) -> int:
        return 0 if self.document is None else len(self.document.content.data)


Outcome = Pushed | BaigongError
_Key = tuple[str, str]  # source and path


def write_batch(
    bases: KnowledgeBases, name: str, embed: Embed | None, works: Sequence[Work]
) -> list[Outcome]:
    """What became of each. Blocks; only one thread at a time for a base.

    Raises:
        NotFound: there is no such knowledge base.
        BaigongError: none of them could be written.
    """
    with Writer(bases, name, embed) as writer:
        return _Batch(writer, works).run()


class _Batch:
    def __init__(self, writer: Writer, works: Sequence[Work]) -> None:
        self._writer = writer
        self._works = works
        self._outcomes: dict[int, Outcome] = {}
        self._last: dict[_Key, int] = {}  # which work decides what is there in the end
        self._arriving: dict[int, Arriving] = {}

    def run(self) -> list[Outcome]:
        self._prepare()
        known = self._known()
        removals = []
        for at in sorted(self._last.values()):
            work, arrived = self._works[at], self._arriving.get(at)
            before = known.get((work.source, work.path))
            if arrived is None:
                removals.append(at)
            elif before is not None and before[1] == arrived.digest and not _has_chunking(work):
                said = Pushed(work.path, before[0], "unchanged", len(arrived.chunks))
                self._outcomes[at] = said
                del self._arriving[at]
        self._write(sorted(self._arriving))
        for at in removals:
            self._remove(self._works[at], at, known)
        return [self._outcomes[at] for at in range(len(self._works))]

    def _prepare(self) -> None:
        """Parse and cut; bad ones are out, and of several with one path all but the last."""
        for at, work in enumerate(self._works):
            try:
                arrived = None if work.document is None else _arrive(work, self._writer.base)
            except InvalidInput as error:
                self._outcomes[at] = error
                continue
            key = (work.source, work.path)
            before = self._last.get(key)
            if before is not None:
                self._arriving.pop(before, None)
                self._outcomes[before] = Pushed(work.path, work.path, "overtaken")
            self._last[key] = at
            if arrived is not None:
                self._arriving[at] = arrived

    def _known(self) -> Mapping[_Key, tuple[str, str]]:
        """Name and digest of the documents that are there now."""
        entry, found = knowledge_entries.c, {}
        joined = knowledge_entries.join(
            documents,
            (documents.c.knowledge == entry.knowledge) & (documents.c.path == entry.document),
        )
        query = select(entry.source, entry.path, entry.document, documents.c.digest)
        with self._writer.bases.database.read() as connection:
            for part in parts_of([path for _, path in self._last]):
                rows = connection.execute(query.select_from(joined).where(
                    entry.knowledge == self._writer.name,
                    entry.path.in_(part),
                    documents.c.born.is_not(None),
                    documents.c.died.is_(None),
                ))  # fmt: skip
                found.update({(row.source, row.path): (row.document, row.digest) for row in rows})
        return found

    def _write(self, places: Sequence[int]) -> None:
        if not places:
            return
        try:
            written = self._writer.write([self._arriving[at] for at in places])
        except InvalidInput as error:
            if len(places) == 1:
                self._outcomes[places[0]] = error
                return
            for at in places:  # which of them was it?
                self._write([at])
            return
        for at, one in zip(places, written, strict=True):
            state: Literal["added", "changed"] = "added" if one.is_new else "changed"
            count = len(self._arriving[at].chunks)
            self._outcomes[at] = Pushed(self._works[at].path, one.path, state, count)

    def _remove(self, work: Work, at: int, known: Mapping[_Key, tuple[str, str]]) -> None:
        document, _ = known.get((work.source, work.path), (work.path, ""))
        gone = self._writer.remove(work.source, [work.path])
        self._outcomes[at] = Pushed(work.path, document, "removed" if gone else "absent")


def _arrive(work: Work, base: Base) -> Arriving:
    """
    Raises:
        InvalidInput: nothing can be made of it.
    """
    assert work.document is not None
    pushed, content = work.document, work.document.content
    parsed = work.parsed or _PARSER.parse(pushed.file_name, content.data)
    if isinstance(parsed, Problem):
        message = parsed.message.removesuffix(" Skipped.").removesuffix("; skipped.")
        raise InvalidInput(
            f"The document '{pushed.path[:80]}' {message.rstrip('.')}.",
            hint="Mend it and send it again.",
            param="document",
        )
    if pushed.chunking is not None:
        base = msgspec.structs.replace(base, chunking=pushed.chunking)
    return arriving(work.source, Entry(pushed.path), content, parsed, base)


def _has_chunking(work: Work) -> bool:
    return work.document is not None and work.document.chunking is not None
