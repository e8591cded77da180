"""Searching vector stores: passages, and the files they stand in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select

from baigong.gateway.doors.openai.vector_stores.rows import VectorStore, VectorStores
from baigong.industry.reranker import HubRankers
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.records import parts_of
from baigong.knowledge.retrieve import Retriever, Search
from baigong.knowledge.where import Scalar, read_where
from baigong.store.tables import documents
from baigong.types import Embedders, Passage

_FILE = re.compile(r"(file-[0-9a-f]{24})/(.+)", re.DOTALL)
_HALF = 10.0  # the BM25 score, which has no end, that is told as 0.5


class Found(msgspec.Struct, frozen=True):
    """A passage in a file. A document that came otherwise goes by its name."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, Scalar]
    passage: Passage


class Searcher:
    """Asks vector stores."""

    def __init__(
        self,
        stores: VectorStores,
        bases: KnowledgeBases,
        embedders: Embedders,
        rankers: HubRankers,
    ) -> None:
        self._rankers = rankers
        self._stores = stores
        self._bases = bases
        self._embedders = embedders

    async def __call__(
        self,
        owner: str | None,
        stores: Sequence[str],
        queries: Sequence[str],
        limit: int,
        filters: Mapping[str, Any] | None = None,
        threshold: float = 0.0,
        ranker: str | None = None,
        param: str = "filters",
    ) -> list[Found]:
        """The best of all stores and queries first, each passage once.

        Raises:
            NotFound: the owner has no such store, or there is no such model.
            InvalidInput: a store has expired, or `filters` are none.
        """
        where = None if filters is None else read_where(dict(filters), param)
        seen = self._stores.of(owner)
        opened = await asyncio.to_thread(lambda: [seen.usable(one) for one in stores])
        names = list(dict.fromkeys(store.knowledge for store in opened))
        rank = None if ranker is None else self._rankers(ranker)
        narrow = Search(where=where)
        retrieve = Retriever(self._bases, names, self._embedders, rank=rank, search=narrow)
        best: dict[tuple[str, str, int], Passage] = {}
        for query in queries:
            for passage in await retrieve(query, limit):
                key = (passage.knowledge, passage.document, passage.start)
                if key not in best or passage.score > best[key].score:
                    best[key] = passage
        passages = sorted(best.values(), key=lambda passage: -passage.score)[:limit]
        found = await asyncio.to_thread(self._found, opened, passages, is_ranked=rank is not None)
        return [one for one in found if one.score >= threshold]

    def _found(
        self, stores: Sequence[VectorStore], passages: Sequence[Passage], *, is_ranked: bool
    ) -> list[Found]:
        attributes, bare = {}, {}
        for store in stores:
            paths = [p.document for p in passages if _name(p) == store.knowledge]
            embedder = self._bases.base(store.knowledge).embedder
            bare[store.knowledge] = embedder is None and not is_ranked
            for path, said in self._attributes(store.knowledge, paths).items():
                attributes[store.knowledge, path] = said
        found = []
        for passage in passages:
            named = _FILE.fullmatch(passage.document)
            file_id, filename = named.groups() if named else (passage.document,) * 2
            said = attributes.get((_name(passage), passage.document), {})
            score = _share(passage.score, is_bare=bare[_name(passage)])
            found.append(Found(file_id, filename, score, said, passage))
        return found

    def _attributes(self, name: str, paths: Sequence[str]) -> dict[str, dict[str, Scalar]]:
        """The metadata of documents, by path."""
        found = {}
        column = documents.c
        with self._bases.database.read() as connection:
            for part in parts_of(sorted(set(paths))):
                query = select(column.path, column.metadata).where(
                    column.knowledge == name,
                    column.path.in_(part),
                    column.born.is_not(None),
                    column.died.is_(None),
                )
                found.update({row.path: dict(row.metadata) for row in connection.execute(query)})
        return found


def result_object(found: Found) -> dict[str, Any]:
    """An entry of a page of results."""
    return {
        "file_id": found.file_id,
        "filename": found.filename,
        "score": found.score,
        "attributes": found.attributes,
        "content": [{"type": "text", "text": found.passage.text}],
    }


def _name(passage: Passage) -> str:
    return passage.knowledge.partition("@")[0]


def _share(score: float, *, is_bare: bool) -> float:
    """A score from 0 to 1; of words alone it is bent so that the order stays."""
    share = score / (score + _HALF) if is_bare else score
    return min(1.0, max(0.0, share))
