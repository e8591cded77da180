"""How a store of chunks bears growth: what it takes to build, and its questions, up to a million."""

from __future__ import annotations

import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.chunk import DEFAULT_CHUNKING
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.formats.document import Document
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.port import ChunkRow, Chunks, Scope
from baigong.knowledge.terms import question_terms
from baigong.knowledge.where import Compare
from baigong.knowledge.write import chunk_rows, cut
from bench.knowledge.beir import rows_of
from bench.knowledge.queries import settled
from bench.knowledge.stage import built_in
from bench.record import row

SIZES = (10_000, 100_000, 1_000_000)
GROUPS = 10  # the filter keeps one of so many
WIKIS = ("enwiki", "zhwiki")
_REAL = 20_000  # chunks of articles; the others are each made of two of these
_MINE = 0.7  # of such a chunk's vector, and half of its terms, are the first one's
_BATCH = 5_000
_QUESTIONS = 100
_DEPTH = 50  # as a question to a knowledge base asks for

Floats = NDArray[np.float32]


def measure(data: Path) -> Iterator[dict[str, Any]]:
    """The store alone: no parsing and no database, which cost the same for every chunk."""
    real, titles = _real(data)
    draw = random.Random(7)
    questions = draw.sample(titles, _QUESTIONS)
    asked = built_in().vectors(questions)
    with tempfile.TemporaryDirectory() as folder:
        chunks = LanceStores(folder).open("growth", asked.shape[1])
        reached, spent = 0, 0.0
        for size in SIZES:
            began = time.perf_counter()
            for first in range(reached, size, _BATCH):
                chunks.replace([], [_row(real, n) for n in range(first, first + _BATCH)])
            chunks.tend()
            spent += time.perf_counter() - began
            reached = size
            where = f"store of {size:,} chunks"
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            yield row(f"{where}: written and indexed", spent, "s")
            yield row(
                f"{where}: memory while it was built", memory, "GB", goal=6, is_less_better=True
            )
            times = _times(chunks, questions, asked)
            cuts = statistics.quantiles(times, n=20)
            yield row(f"{where}: words and vectors with filter, p50", cuts[9], "ms", goal=40)
            yield row(f"{where}: words and vectors with filter, p95", cuts[18], "ms")
            yield row(
                f"{where}: recall of vectors at 10", _recall(chunks, real, size, asked), goal=0.99
            )


_NARROW = Scope(where=Compare("eq", "group", 3.0))


def _times(chunks: Chunks, questions: list[str], asked: Floats) -> list[float]:
    """Milliseconds of each question, one after the other, once what is kept in memory is there."""
    times = []
    for turn in range(2):
        for question, vector in zip(questions, asked, strict=True):
            began = time.perf_counter()
            chunks.both(question_terms(question), vector, _DEPTH, _NARROW)
            times.append((time.perf_counter() - began) * 1000)
        if not turn:
            settled()
            times.clear()
    return times


def _recall(chunks: Chunks, real: list[ChunkRow], size: int, asked: Floats) -> float:
    """The share of the ten nearest inside the filter that were found, by their cosines."""
    best = np.full((len(asked), 10), -1, np.float32)
    for first in range(0, size, _BATCH):
        numbers = [n for n in range(first, first + _BATCH) if _group(n) == 3.0]
        cosines = asked @ np.stack([_vector(real, n) for n in numbers]).T
        best = np.sort(np.concatenate([best, cosines], axis=1), axis=1)[:, -10:]
    found = 0
    for vector, wanted in zip(asked, best, strict=True):
        hits = chunks.near(vector, _DEPTH, _NARROW)[:10]
        found += sum(hit.score >= float(wanted[0]) - 1e-5 for hit in hits)
    return found / best.size


def _real(data: Path) -> tuple[list[ChunkRow], list[str]]:
    """Chunks of articles with their vectors, and the articles' titles."""
    articles = [one for wiki in WIKIS for one in rows_of(data / "pretrain" / wiki)]
    random.Random(7).shuffle(articles)
    embed = built_in()
    rows: list[ChunkRow] = []
    for number, article in enumerate(articles):
        path, title = f"{number}.md", article["title"]
        text = f"# {title}\n\n{article['text']}"
        pieces = cut(Document(path, title, text, is_markdown=True), DEFAULT_CHUNKING)
        vectors = embed.vectors([piece.indexed for piece in pieces])
        rows += chunk_rows(number, path, pieces, vectors, Content(b""))
        if len(rows) >= _REAL:
            break
    return rows[:_REAL], [article["title"] for article in articles[: number + 1]]


def _row(real: list[ChunkRow], number: int) -> ChunkRow:
    mine, other = _parents(real, number)
    terms = mine.terms
    if number >= len(real):
        one, two = mine.terms.split(), other.terms.split()
        terms = " ".join(one[: len(one) // 2] + two[len(two) // 2 :])
    return msgspec.structs.replace(
        mine,
        document=number,
        terms=terms,
        metadata={"group": _group(number)},
        vector=_vector(real, number),
    )


def _vector(real: list[ChunkRow], number: int) -> Floats:
    mine, other = (each.vector for each in _parents(real, number))
    assert mine is not None and other is not None
    mixed = mine if number < len(real) else _MINE * mine + (1 - _MINE) * other
    unit: Floats = (mixed / max(1e-9, float(np.linalg.norm(mixed)))).astype(np.float32)
    return unit


def _parents(real: list[ChunkRow], number: int) -> tuple[ChunkRow, ChunkRow]:
    turn, place = divmod(number, len(real))
    return real[place], real[(place * 7919 + turn * 104_729) % len(real)]


def _group(number: int) -> float:
    return float(random.Random(number).randrange(GROUPS))
