"""From a question to passages: full text and, where there are vectors, nearness, fused by score."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from baigong.errors import InvalidInput
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.records import Reading, numbers_of, urls_of
from baigong.knowledge.stores.port import Hit, Scope
from baigong.knowledge.terms import searched_terms, terms
from baigong.knowledge.where import Where
from baigong.types import Embedders, Passage, Rank

_MAX_TERMS = 256  # of a question; one longer than this is a pasted page, and its start will do
_MAX_JOINED = 2  # chunks in one passage, so that a passage stays something to quote
_DEPTH = 50  # candidates from each side
# Of the last one's cosine, what is taken for those beyond it; all of it flatters what words alone
# found (nDCG@10 on SciFact 0.700, so 0.704).
_BEYOND = 0.8
# The share of a question's terms in the best matches at which words count in full. A question in
# another language than its answer matches by a name or a number at most, which says little. Chosen
# on one half of the questions, the gain held on the other: across languages nDCG@10 0.92 against
# 0.86 (Python's manual), on SciFact and STARD no loss. Reciprocal ranks are worse on all of them:
# ranks forget by how much the first beats the tenth.
_FULL_COVERAGE = 0.5
_WORDS = 0.55  # of the score; the rest is the cosine's
_DAY_S = 86400.0
# In memory Python does it all: at once, searches only hinder each other.
_lane = ThreadPoolExecutor(1, "find")
_OLD_SHARE = 0.5  # of its score that a passage keeps however old it is


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a search asks beside its question.

    Attributes:
        where: which documents may answer, by their metadata.
        readers: the names that the asker goes by; None may read everything.
        as_of: seconds since the epoch; what was published later does not answer.
        fresh_days: the age at which what is published has lost half of what age can take; 0 is
            never. A document without a time keeps its score.
        without: names of documents that shall not answer.
    """

    where: Where | None = None
    readers: tuple[str, ...] | None = None
    as_of: float | None = None
    fresh_days: float = 0.0
    without: tuple[str, ...] = ()


ANYTHING = Search()


class Retriever:
    """Knowledge bases ready to be asked: types.Retrieve."""

    def __init__(
        self,
        bases: KnowledgeBases,
        knowledge: str | Sequence[str],
        embedders: Embedders | None = None,
        *,
        rank: Rank | None = None,
        search: Search = ANYTHING,
    ) -> None:
        """
        Args:
            bases: where they live.
            knowledge: one or several, each `name@number` or, for what it holds now, `name`.
            embedders: finds the one that each was made with; None searches full text alone.
            rank: reads question and passage together, and orders the best anew.
            search: narrows what may be found.
        """
        self._bases = bases
        self._names = (knowledge,) if isinstance(knowledge, str) else tuple(knowledge)
        self._embedders = embedders
        self._rank = rank
        self._search = search

    async def __call__(self, question: str, limit: int) -> list[Passage]:
        """The best passages first, `limit` at most. The work is done in a thread.

        Scores fall along the list and compare only within it: BM25 for full text alone, 0 to 1
        when fused. Equal texts come once; chunks of a document that touch come as one passage.

        Raises:
            NotFound: there is no such knowledge base.
            InvalidInput: what `embedders` finds is not the one that it was made with.
        """
        readings = await asyncio.to_thread(lambda: [self._bases.read(name) for name in self._names])
        vectors = await self._vectors(readings, question)
        depth = limit if self._rank is None else max(limit, _RANKED)
        in_memory = all(reading.chunks.is_in_memory for reading in readings)
        found = await asyncio.get_running_loop().run_in_executor(
            _lane if in_memory else None, self._find, readings, question, depth, vectors
        )
        if self._rank is None or not found:
            return found
        return await _ranked(self._rank, question, found, limit)

    async def _vectors(
        self, readings: Sequence[Reading], question: str
    ) -> dict[str, NDArray[np.float32]]:
        """The question's vector by each embedder that is needed."""
        if self._embedders is None or not question.strip():
            return {}
        # An embedder is not to choke on the lone surrogates that JSON can smuggle into a question.
        text = question.encode("utf-8", "replace").decode()
        found = {}
        for name in {reading.embedder for reading in readings if reading.embedder is not None}:
            embed = self._embedders(name)
            if embed.name != name:
                raise InvalidInput(
                    f"The knowledge base was made with the embedder '{name}', not '{embed.name}'.",
                    hint="Index it anew with this embedder, or search with the other.",
                    param="embedder",
                )
            found[name] = np.asarray((await embed([text]))[0], dtype=np.float32)
        return found

    def _find(
        self,
        readings: Sequence[Reading],
        question: str,
        limit: int,
        vectors: Mapping[str, NDArray[np.float32]],
    ) -> list[Passage]:
        words = searched_terms(question)[:_MAX_TERMS]
        if limit < 1 or not (words or vectors):
            return []
        now = time.time()
        scored: list[tuple[Reading, _Scored]] = []
        for reading in readings:
            vector = vectors.get(reading.embedder or "")
            hits = self._hits(reading, words, limit, vector, now)
            scored += [(reading, hit) for hit in hits]
        if len(readings) > 1 or self._search.fresh_days:
            scored.sort(key=lambda one: -one[1].score)
        groups = _grouped(scored, limit)
        with self._bases.database.read() as connection:
            urls = urls_of(connection, [group.best.document for group in groups])
        return [_passage(group, urls.get(group.best.document)) for group in groups]

    def _hits(
        self,
        reading: Reading,
        words: Sequence[str],
        limit: int,
        vector: NDArray[np.float32] | None,
        now: float,
    ) -> list[_Scored]:
        asked = self._search
        without = reading.without
        if asked.without:
            with self._bases.database.read() as connection:
                without += tuple(numbers_of(connection, reading, asked.without))
        until = now if reading.expires else None
        scope = Scope(asked.where, asked.readers, until, asked.as_of, without)
        depth = max(_DEPTH, 4 * limit)
        if vector is None:
            found = reading.chunks.words(words, depth, scope) if words else []
            scored = [_Scored(hit, hit.score, hit.score, None) for hit in found]
        else:
            scored = _fused(words, *reading.chunks.both(words, vector, depth, scope))
        if not asked.fresh_days:
            return scored
        at = now if asked.as_of is None else asked.as_of
        return [
            one._replace(score=one.score * _freshness(one.hit, at, asked.fresh_days))
            for one in scored
        ]


class _Scored(NamedTuple):
    """A chunk with its score, and with what words and vectors alone say of it."""

    hit: Hit
    score: float
    matched: float
    nearness: float | None


_RANKED = 20  # passages that a reranker reads


async def _ranked(rank: Rank, question: str, found: Sequence[Passage], limit: int) -> list[Passage]:
    scores = await rank(question, [one.whole for one in found])
    order = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])
    return [msgspec.structs.replace(one, score=score) for score, one in order[:limit]]


def _fused(
    asked: Sequence[str], by_words: Sequence[Hit], by_nearness: Sequence[Hit]
) -> list[_Scored]:
    """BM25 as a share of the best one's and the cosine, weighed, best first.

    Words count less the fewer of the `asked` terms the best matches hold.
    """
    words = min(1.0, _coverage(asked, by_words) / _FULL_COVERAGE)
    best = by_words[0].score if by_words else 1.0
    beyond = _BEYOND * by_nearness[-1].score if by_nearness else 0.0
    nearest = {(hit.document, hit.start): hit for hit in by_nearness}
    scored = []
    for hit in by_words:
        twin = nearest.pop((hit.document, hit.start), None)
        near = beyond if twin is None else twin.score
        score = _WORDS * words * hit.score / best + (1 - _WORDS) * max(0.0, near)
        scored.append(_Scored(hit, score, hit.score, near))
    for hit in nearest.values():
        scored.append(_Scored(hit, (1 - _WORDS) * max(0.0, hit.score), 0.0, hit.score))
    return sorted(scored, key=lambda one: -one.score)


def _coverage(asked: Sequence[str], by_words: Sequence[Hit]) -> float:
    """The largest share of the terms that one of the three best matches holds, up to full."""
    wanted = set(asked)
    most = 0.0
    for hit in by_words[:3]:
        held = wanted.intersection(terms(f"{hit.title}\n{hit.text}"))
        most = max(most, len(held) / len(wanted))
        if most >= _FULL_COVERAGE:
            break
    return most


def _freshness(hit: Hit, at: float, half_life_days: float) -> float:
    """From 1 for what is new to a floor for what is old, by half-lives."""
    if hit.published_at is None:
        return 1.0
    age = max(0.0, at - hit.published_at) / (half_life_days * _DAY_S)
    return float(_OLD_SHARE + (1 - _OLD_SHARE) * 0.5**age)


class _Group(msgspec.Struct):
    """Chunks of one document that touch, in order; `best` is the one that was found first."""

    reading: Reading
    found: _Scored
    chunks: list[Hit]

    @property
    def best(self) -> Hit:
        return self.found.hit

    def admits(self, hit: Hit) -> bool:
        touches = hit.start == self.chunks[-1].end or hit.end == self.chunks[0].start
        return touches and len(self.chunks) < _MAX_JOINED and hit.document == self.best.document

    def join(self, hit: Hit) -> None:
        self.chunks.append(hit)
        self.chunks.sort(key=lambda chunk: chunk.start)


def _grouped(ranked: Iterable[tuple[Reading, _Scored]], limit: int) -> list[_Group]:
    """Up to `limit` groups: equal texts once, touching chunks together."""
    groups: list[_Group] = []
    seen: set[str] = set()
    for reading, found in ranked:
        hit = found.hit
        same = " ".join(hit.text.split())
        if same in seen:
            continue
        host = next((group for group in groups if group.admits(hit)), None)
        if host is not None:
            host.join(hit)
        elif len(groups) == limit:
            break
        else:
            groups.append(_Group(reading, found, [hit]))
        seen.add(same)
    return groups


def _passage(group: _Group, url: str | None) -> Passage:
    """The group's text without blanks around it, its span to match."""
    text = "".join(chunk.text for chunk in group.chunks)
    start = group.chunks[0].start
    start += len(text[: len(text) - len(text.lstrip())].encode())
    text = text.strip()
    return Passage(
        knowledge=group.reading.ref,
        document=group.best.path,
        title=group.best.title,
        text=text,
        start=start,
        end=start + len(text.encode()),
        page=group.best.page,
        score=group.found.score,
        published_at=group.best.published_at,
        url=url,
        matched=group.found.matched,
        nearness=group.found.nearness,
        lead=group.chunks[0].lead,
    )
