"""How long a question takes: words, vectors and a filter, with the question's own embedding."""

from __future__ import annotations

import asyncio
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from baigong.knowledge.retrieve import Retriever, Search
from baigong.knowledge.where import Compare
from bench.knowledge.beir import rows_of
from bench.knowledge.stage import Texts, built_in, fill, fresh_bases
from bench.record import row

CHUNKS = 100_000
CLIENTS = 8
QUESTIONS = 400
GROUPS = 10  # the filter keeps one of so many
_BYTES = 810  # of text in a chunk, in the mean
WIKIS = ("enwiki", "zhwiki")

_WARM = 20  # questions, after which what is asked often is read into memory


def measure(data: Path) -> Iterator[dict[str, Any]]:
    texts, titles = _texts(data)
    rng = random.Random(7)
    said = {path: {"group": float(rng.randrange(GROUPS))} for path in texts}
    embed = built_in()
    with fresh_bases() as bases:
        summary = fill(bases, "bench", Texts(texts, said), embed)
        yield row(
            f"ingest of {summary.chunks:,} chunks, with vectors and index",
            summary.chunks / summary.seconds,
            "chunks/s",
        )
        yield row("the same ingest", summary.bytes / 1e6 / summary.seconds, "MB/s")
        narrow = Search(where=Compare("eq", "group", 3.0))
        retrieve = Retriever(bases, "bench", lambda _name: embed, search=narrow)
        questions = rng.sample(titles, QUESTIONS)
        for clients, goals in ((1, (15, None)), (CLIENTS, (None, 40))):
            began = time.process_time()
            times = asyncio.run(_ask(retrieve, questions, clients))
            processor = 1000 * (time.process_time() - began) / len(questions)
            cuts = statistics.quantiles(times, n=20)
            where = f"hybrid query with filter, {summary.chunks:,} chunks, {clients} clients"
            yield row(f"{where}, p50", cuts[9], "ms", goal=goals[0])
            yield row(f"{where}, p95", cuts[18], "ms", goal=goals[1])
            yield row(f"{where}, processor time", processor, "ms")


async def _ask(retrieve: Retriever, questions: Sequence[str], clients: int) -> list[float]:
    """Milliseconds of each question, `clients` of them under way at any time."""
    for question in questions[:_WARM]:
        await retrieve(question, 5)
    await asyncio.to_thread(settled)
    waiting = iter(questions)
    times: list[float] = []

    async def client() -> None:
        for question in waiting:
            began = time.perf_counter()
            await retrieve(question, 5)
            times.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(client() for _ in range(clients)))
    return times


def settled() -> None:
    """Wait until what is kept in memory beside the store is there, as it is a moment after a start."""
    for thread in threading.enumerate():
        if thread.name == "mirror":
            thread.join()


def _texts(data: Path) -> tuple[dict[str, str], list[str]]:
    """Articles of both languages, again under other names until there are enough; their titles."""
    articles = [one for wiki in WIKIS for one in rows_of(data / "pretrain" / wiki)]
    texts: dict[str, str] = {}
    size = 0
    turn = 0
    while size < CHUNKS * _BYTES:
        for number, article in enumerate(articles):
            text = f"# {article['title']}\n\n{article['text']}"
            if turn:  # equal texts would come once
                text += f"\n\n{turn}"
            texts[f"{turn}/{number}.md"] = text
            size += len(text.encode())
            if size >= CHUNKS * _BYTES:
                break
        turn += 1
    return texts, [article["title"] for article in articles]
