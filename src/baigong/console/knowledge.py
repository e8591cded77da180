"""What the pages show of knowledge bases: rows of a table, and passages with their marks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from baigong.industry.embedder import sentence_vectors
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.quote import best_quote
from baigong.knowledge.records import KnowledgeDocument, KnowledgeVersion
from baigong.knowledge.tables import tables
from baigong.types import Passage

PAGE = 50
HITS = 8


@dataclass(frozen=True, slots=True)
class BaseRow:
    """A knowledge base in a line; `changed` is a local time."""

    ref: str
    url: str
    documents: str
    chunks: str
    embedder: str
    changed: str


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document in a line; `link` is where it was read, if a person may open that."""

    path: str
    title: str
    url: str
    chunks: str
    source: str
    link: str


@dataclass(frozen=True, slots=True)
class HitView:
    """A passage; its `quote` stands between what is `before` and `after` it.

    The cells of a quoted table, `rows` with the head first, stand by themselves too.
    """

    title: str
    document: str
    page: int | None
    published: str
    url: str
    before: str
    quote: str
    after: str
    caption: str
    rows: list[list[str]]


def base_row(version: KnowledgeVersion, knowledge: str) -> BaseRow:
    """`knowledge` is what it was asked for by, a name or `name@number`."""
    return BaseRow(
        ref=version.ref,
        url=f"/knowledge/{quote(knowledge, safe='@')}",
        documents=f"{version.documents:,}",
        chunks=f"{version.chunks:,}",
        embedder=_short(version.embedder),
        changed=time.strftime("%Y-%m-%d %H:%M", time.localtime(version.made_at)),
    )


def document_rows(
    bases: KnowledgeBases, knowledge: str, after: str
) -> tuple[list[DocumentRow], str]:
    """A page of documents, and the path that the next one begins behind; empty at the end."""
    found = bases.documents(knowledge, after=after, limit=PAGE + 1)
    rows = [_document(knowledge, document) for document in found[:PAGE]]
    return rows, rows[-1].path if len(found) > PAGE else ""


def hits(question: str, knowledge: str, passages: Sequence[Passage]) -> list[HitView]:
    """The passages with the sentences marked that answer best."""
    return [_hit(question, knowledge, passage) for passage in passages]


def _hit(question: str, knowledge: str, passage: Passage) -> HitView:
    found = best_quote(question, passage, sentence_vectors)
    data = passage.text.encode()
    cuts = (found.start - passage.start, found.end - passage.start)
    parts = (data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] :])
    before, quoted, after = (part.decode("utf-8", "ignore") for part in parts)
    quoted_tables = tables(found.table)  # one or none
    at = passage.published_at
    return HitView(
        title=passage.title or passage.document,
        document=passage.document,
        page=passage.page,
        published="" if at is None else time.strftime("%Y-%m-%d", time.localtime(at)),
        url=f"{_url(knowledge, passage.document)}?span={found.start}-{found.end}#passage",
        before=before,
        quote=quoted,
        after=after,
        caption="\n".join(table.caption for table in quoted_tables),
        rows=[row for table in quoted_tables for row in table.cells],
    )


def _document(knowledge: str, document: KnowledgeDocument) -> DocumentRow:
    link = document.url or ""
    return DocumentRow(
        path=document.path,
        title=document.title,
        url=_url(knowledge, document.path),
        chunks=f"{document.chunks:,}",
        source=document.source,
        link=link if link.startswith(("https://", "http://")) else "",
    )


def _url(knowledge: str, document: str) -> str:
    return f"/knowledge/{quote(knowledge, safe='@')}/{quote(document)}"


def _short(embedder: str | None) -> str:
    """A model as far as a person reads it."""
    name, _, revision = (embedder or "").rpartition("@")
    return f"{name}@{revision[:12]}" if name else revision
