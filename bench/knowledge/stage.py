"""What the measurements share: a knowledge base of their own, the rows they leave, the data they read."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from baigong.hub.repository import FOUNDATION
from baigong.inference.static import StaticEmbed
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.connectors.source import Content, Entry, Listing
from baigong.knowledge.ingest import Summary, ingest
from baigong.knowledge.reindex import prepare
from baigong.knowledge.retrieve import Retriever
from baigong.knowledge.stores.lance import LanceStores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.types import Embed, Passage
from bench.record import FOLDER, record

RESULTS = FOLDER / "knowledge.json"


@dataclass(frozen=True)
class Texts:
    """A source (connectors.source.Source) whose documents lie in memory."""

    texts: dict[str, str]
    metadata: dict[str, dict[str, str | float | bool]] | None = None
    name: str = "bench"
    forgets: bool = True

    def list(self) -> Listing:
        return Listing(
            tuple(Entry(path, size_bytes=len(text)) for path, text in self.texts.items())
        )

    def read(self, entry: Entry, stamp: str | None) -> Content:
        del stamp
        said = (self.metadata or {}).get(entry.path, {})
        return Content(self.texts[entry.path].encode(), metadata=said)


@contextmanager
def fresh_bases() -> Iterator[KnowledgeBases]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = Database.in_folder(home)
        yield KnowledgeBases(
            database, Blobs(str(home / "blobs")), LanceStores(str(home / "vectors"))
        )
        database.close()


def fill(bases: KnowledgeBases, name: str, source: Texts, embed: Embed | None) -> Summary:
    prepare(bases, name, embed)
    return ingest(bases, name, [source], embed)


class Asker:
    """Asks one knowledge base question after question, in one event loop."""

    def __init__(self, bases: KnowledgeBases, name: str, embed: Embed | None) -> None:
        embedders = None if embed is None else lambda _name: embed
        self._retrieve = Retriever(bases, name, embedders)
        self._loop = asyncio.Runner()

    def __call__(self, question: str, limit: int) -> list[Passage]:
        return self._loop.run(self._retrieve(question, limit))

    def close(self) -> None:
        self._loop.close()


EMBEDDER = FOUNDATION / "pollen"


def built_in() -> StaticEmbed:
    """The embedder that comes with the package."""
    return StaticEmbed(EMBEDDER, "pollen")


def row(
    work: str,
    ours: float | None,
    unit: str = "",
    *,
    goal: float | None = None,
    peer: str = "",
    theirs: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A figure. With a peer, `goal` bounds the ratio, else the figure; less is better in time."""
    less = unit in {"ms", "s"}
    ratio = None if theirs is None or ours is None else ours / theirs
    judged = ours if theirs is None else ratio
    met = None if goal is None or judged is None else (judged <= goal if less else judged >= goal)
    return {
        "work": work,
        "peer": peer,
        "ours": None if ours is None else round(ours, 4),
        "theirs": None if theirs is None else round(theirs, 4),
        "unit": unit,
        "ratio": None if ratio is None else round(ratio, 3),
        "goal": None if goal is None else f"{'<=' if less else '>='} {goal}",
        "met": met,
        "note": note,
    }


def keep(rows: Sequence[dict[str, Any]]) -> None:
    """Put these rows in place of earlier ones of the same work and peer."""
    before = json.loads(RESULTS.read_text("utf-8"))["rows"] if RESULTS.exists() else []
    new = {(one["work"], one["peer"]) for one in rows}
    kept = [one for one in before if (one["work"], one["peer"]) not in new]
    machine = {
        "cores": psutil.cpu_count(logical=False),
        "cpu": platform.processor() or platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_average": round(os.getloadavg()[0], 1),  # others' work shows in the times
        "python": platform.python_version(),
    }
    libraries = ("lancedb", "semantic-text-splitter", "pypdfium2")
    record("knowledge", [*kept, *rows], libraries, machine=machine)
