"""The work of a build: parse each file, cut it, embed the chunks, write both tables, index them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from baigong.errors import DataProblems, InvalidInput, Problem
from baigong.knowledge.chunk import Chunk, Chunking, chunk
from baigong.knowledge.formats import Document
from baigong.knowledge.parse import Parser
from baigong.knowledge.sources import SourceFile
from baigong.knowledge.tables import (
    Row,
    append,
    chunks_schema,
    documents_schema,
    index_chunks,
)
from baigong.knowledge.terms import terms
from baigong.types import Embed, Progress, Report

_FLUSH_ROWS = 4096  # a commit and a fragment each; with vectors of 1024 floats, some 16 MB
_FLUSH_BYTES = 32 << 20
_EMBED_ROWS = 64


@dataclass(slots=True)
class Built:
    """What a build made, counted as it goes."""

    documents: int = 0
    chunks: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def write_tables(
    database: Any,
    names: tuple[str, str],
    files: Sequence[SourceFile],
    chunking: Chunking,
    embed: Embed | None,
    report: Report,
) -> Built:
    """Make the documents table and the chunks table, named by `names`, and their indexes.

    Raises:
        DataProblems: no file holds any text.
        Conflict: a file was changed meanwhile.
    """
    total = sum(file.size_bytes for file in files)
    began = time.monotonic()
    read = 0
    with Parser() as parser, _Writer(database, names, embed) as writer:
        for file in files:
            outcome = parser.parse(file.name, file.read())
            if isinstance(outcome, Problem):
                writer.built.problems.append(outcome)
            else:
                writer.add(outcome, chunk(outcome, chunking), file.size_bytes)
            read += file.size_bytes
            rate = read / max(1e-9, time.monotonic() - began)
            report(Progress(read, total, "bytes", rate, note=file.name))
        writer.flush()
        if not writer.built.documents:
            raise DataProblems(
                writer.built.problems, hint="None of the files holds text; mend or replace one."
            )
        index_chunks(writer.chunks, has_vectors=embed is not None)
        return writer.built


class _Writer:
    """Gathers rows and writes them in large batches. Owns the event loop that embeds."""

    def __init__(self, database: Any, names: tuple[str, str], embed: Embed | None) -> None:
        size = None if embed is None else embed.size
        self.documents = database.create_table(names[0], schema=documents_schema())
        self.chunks = database.create_table(names[1], schema=chunks_schema(size))
        self.built = Built()
        self._embed = embed
        self._loop = asyncio.Runner()
        self._document_rows: list[Row] = []
        self._chunk_rows: list[Row] = []
        self._texts: list[str] = []  # what to embed, one for each row of a chunk
        self._waiting_bytes = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def add(self, document: Document, chunks: Sequence[Chunk], file_bytes: int) -> None:
        size = chunks[-1].end
        self._document_rows.append({
            "path": document.path,
            "title": document.title,
            "text": document.text,
            "bytes": size,
            "chunks": len(chunks),
        })
        self._chunk_rows.extend(_row(document.path, piece) for piece in chunks)
        self._texts.extend(piece.indexed for piece in chunks)
        self.built.documents += 1
        self.built.chunks += len(chunks)
        self.built.bytes += file_bytes
        self._waiting_bytes += size
        if len(self._chunk_rows) >= _FLUSH_ROWS or self._waiting_bytes >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        if self._embed is not None and self._chunk_rows:
            vectors = self._loop.run(_embed_all(self._embed, self._texts))
            for row, vector in zip(self._chunk_rows, vectors, strict=True):
                row["vector"] = vector
        append(self.documents, self._document_rows)
        append(self.chunks, self._chunk_rows)
        self._document_rows, self._chunk_rows, self._texts = [], [], []
        self._waiting_bytes = 0


def _row(document: str, piece: Chunk) -> Row:
    return {
        "document": document,
        "title": piece.title,
        "text": piece.text,
        "terms": " ".join(terms(piece.indexed)),
        "start": piece.start,
        "end": piece.end,
        "page": piece.page,
    }


async def _embed_all(embed: Embed, texts: Sequence[str]) -> list[list[float]]:
    vectors: list[list[float]] = []
    for at in range(0, len(texts), _EMBED_ROWS):
        batch = texts[at : at + _EMBED_ROWS]
        made = await embed(batch)
        if len(made) != len(batch) or any(len(vector) != embed.size for vector in made):
            raise InvalidInput(
                f"The embedder '{embed.name}' did not give one vector of {embed.size} floats "
                "for each text.",
                hint="Check the size that is declared for it.",
                param="embedder",
            )
        vectors.extend(made)
    return vectors
