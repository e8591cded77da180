"""Knowledge bases that tests make, fill and ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from baigong.hub.hub import FOUNDATION
from baigong.inference.static import StaticEmbed
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import DEFAULT_CHUNKING, Chunking
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.ingest import Summary, ingest
from baigong.knowledge.records import KnowledgeVersion
from baigong.knowledge.reindex import prepare
from baigong.knowledge.retrieve import ANYTHING, Retriever, Search
from baigong.knowledge.stores.lance import LanceStores
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.types import Embed, Passage

VECTORS = StaticEmbed(FOUNDATION / "pollen").vectors


def open_bases(home: Path, database: Database | None = None) -> KnowledgeBases:
    """Those of a folder, whose rows are there too or in the database given."""
    blobs, stores = Blobs(str(home / "blobs")), LanceStores(str(home / "vectors"))
    return KnowledgeBases(database or Database.in_folder(home), blobs, stores)


def sync(
    bases: KnowledgeBases,
    name: str,
    sources: Sequence[Path],
    *,
    embed: Embed | None = None,
    chunking: Chunking = DEFAULT_CHUNKING,
) -> Summary:
    """The knowledge base holds what these folders hold now, and nothing else."""
    prepare(bases, name, embed, chunking)
    return ingest(bases, name, [Folder(source) for source in sources], embed, only=True)


def keep(
    bases: KnowledgeBases,
    name: str,
    sources: Sequence[Path],
    *,
    embed: Embed | None = None,
    chunking: Chunking = DEFAULT_CHUNKING,
) -> KnowledgeVersion:
    """The same, kept as a version."""
    sync(bases, name, sources, embed=embed, chunking=chunking)
    return bases.pin(name)


def search(
    bases: KnowledgeBases,
    knowledge: str | Sequence[str],
    question: str,
    limit: int = 5,
    *,
    embed: Embed | None = None,
    narrow: Search = ANYTHING,
) -> list[Passage]:
    embedders = None if embed is None else lambda _name: embed
    return asyncio.run(Retriever(bases, knowledge, embedders, search=narrow)(question, limit))
