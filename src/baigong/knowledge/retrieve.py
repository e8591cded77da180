"""From a question to passages: full text and, where there are vectors, nearness, fused by score."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from baigong.errors import InvalidInput
from baigong.knowledge.index import KnowledgeStore, KnowledgeVersion, OpenVersion
from baigong.knowledge.tables import Row, find_near, find_words
from baigong.knowledge.terms import question_terms
from baigong.types import Embed, Passage

_MAX_TERMS = 256  # of a question; one longer than this is a pasted page, and its start will do
_MAX_JOINED = 2  # chunks in one passage, so that a passage stays something to quote
_DEPTH = 50  # candidates from each side, so that those which both rank middling meet
# Of the score, from words; the rest is from nearness. Measured on SciFact and STARD with a weak
# embedder (latent semantic analysis; alone 0.47 and 0.50, words alone 0.69 and 0.54 nDCG@10):
# 0.8 gives 0.68 and 0.54. Reciprocal ranks, equal weights, gave 0.58 and 0.53: ranks forget by how
# much the first beats the tenth, so one weak side ruins the list.
_WORDS_SHARE = 0.8


class Retriever:
    """A knowledge base ready to be asked: types.Retrieve for one reference."""

    def __init__(self, store: KnowledgeStore, knowledge: str, embed: Embed | None = None) -> None:
        """`embed` must be the one the version was built with; None searches full text alone."""
        self._store = store
        self._knowledge = knowledge
        self._embed = embed

    async def __call__(self, question: str, limit: int) -> list[Passage]:
        """The best passages first, `limit` at most. The work is done in a thread.

        Raises:
            NotFound: there is no such knowledge base.
            InvalidInput: it was built with another embedder.
        """
        opened = await asyncio.to_thread(self._store.open, self._knowledge)
        vector = await _vector(opened.version, question, self._embed)
        return await asyncio.to_thread(
            self._store.read, opened.version.ref, _searcher(question, limit, vector)
        )


def search(
    store: KnowledgeStore,
    knowledge: str,
    question: str,
    limit: int = 5,
    *,
    embed: Embed | None = None,
) -> list[Passage]:
    """The best passages first, `limit` at most. No question is an error; some find nothing.

    Scores fall along the list and compare only within it: BM25 for full text alone, 0 to 1 when
    fused. Equal texts come once; chunks that touch come as one passage. Blocks, so
    call it from a thread; on an event loop use `Retriever`.

    Args:
        store: where the knowledge base lives.
        knowledge: `name@version`, or `name` for the version built last.
        question: any text.
        limit: passages wanted.
        embed: the embedder that the version was built with; None searches full text alone.

    Raises:
        NotFound: there is no such knowledge base.
        InvalidInput: it was built with another embedder.
    """
    version = store.open(knowledge).version
    vector = None if embed is None else asyncio.run(_vector(version, question, embed))
    return store.read(version.ref, _searcher(question, limit, vector))


async def _vector(
    version: KnowledgeVersion, question: str, embed: Embed | None
) -> list[float] | None:
    built_with = version.embedder
    if embed is None or built_with is None or not question.strip():
        return None
    if embed.name != built_with:
        raise InvalidInput(
            f"'{version.ref}' was built with the embedder '{built_with}', not '{embed.name}'.",
            hint="Build it again with this embedder, or search with the other.",
            param="embedder",
        )
    # An embedder is not to choke on the lone surrogates that JSON can smuggle into a question.
    (vector,) = await embed([question.encode("utf-8", "replace").decode()])
    return vector


def _searcher(
    question: str, limit: int, vector: Sequence[float] | None
) -> Callable[[OpenVersion], list[Passage]]:
    return lambda opened: _search(opened, question, limit, vector)


def _search(
    opened: OpenVersion, question: str, limit: int, vector: Sequence[float] | None
) -> list[Passage]:
    words = question_terms(question)[:_MAX_TERMS]
    if limit < 1 or (not words and vector is None):
        return []
    depth = max(_DEPTH, 4 * limit)
    found = find_words(opened.chunks, words, depth) if words else []
    if vector is None:
        ranked = [(row, float(row["_score"])) for row in found]
    else:
        ranked = _fused(found, find_near(opened.chunks, vector, depth))
    return [_passage(opened, group) for group in _grouped(ranked, limit)]


def _fused(by_words: Sequence[Row], by_nearness: Sequence[Row]) -> list[tuple[Row, float]]:
    """Both sides' scores brought to 0..1 and added, weighted; a chunk that a side misses has 0."""
    rows: dict[tuple[str, int], Row] = {}
    scores: dict[tuple[str, int], float] = {}
    sides = (
        (by_words, _of_best(by_words), _WORDS_SHARE),
        (by_nearness, _of_range(by_nearness), 1 - _WORDS_SHARE),
    )
    for side, values, weight in sides:
        for row, value in zip(side, values, strict=True):
            key = (row["document"], row["start"])
            rows.setdefault(key, row)
            scores[key] = scores.get(key, 0.0) + weight * value
    order = sorted(scores, key=lambda key: -scores[key])
    return [(rows[key], scores[key]) for key in order]


def _of_best(by_words: Sequence[Row]) -> list[float]:
    """BM25 has a natural 0, so one lone match stays a full match."""
    return [row["_score"] / by_words[0]["_score"] for row in by_words]


def _of_range(by_nearness: Sequence[Row]) -> list[float]:
    """Embedders differ in how near unrelated texts are, so the farthest candidate is 0."""
    if not by_nearness:
        return []
    nearest, farthest = by_nearness[0]["_distance"], by_nearness[-1]["_distance"]
    span = max(farthest - nearest, 1e-6)
    return [1 - (row["_distance"] - nearest) / span for row in by_nearness]


class _Group(msgspec.Struct):
    """Chunks of one document that touch, in order; `best` is the one that was found first."""

    best: Row
    score: float
    chunks: list[Row]

    def admits(self, row: Row) -> bool:
        touches = row["start"] == self.chunks[-1]["end"] or row["end"] == self.chunks[0]["start"]
        room = len(self.chunks) < _MAX_JOINED
        return touches and room and row["document"] == self.best["document"]

    def join(self, row: Row) -> None:
        self.chunks.append(row)
        self.chunks.sort(key=lambda chunk: int(chunk["start"]))


def _grouped(ranked: Iterable[tuple[Row, float]], limit: int) -> list[_Group]:
    """Up to `limit` groups: equal texts once, touching chunks together."""
    groups: list[_Group] = []
    seen: set[str] = set()
    for row, score in ranked:
        same = " ".join(row["text"].split())
        if same in seen:
            continue
        host = next((group for group in groups if group.admits(row)), None)
        if host is not None:
            host.join(row)
        elif len(groups) == limit:
            break
        else:
            groups.append(_Group(row, score, [row]))
        seen.add(same)
    return groups


def _passage(opened: OpenVersion, group: _Group) -> Passage:
    """The group's text without blanks around it, its span to match."""
    text = "".join(row["text"] for row in group.chunks)
    start = group.chunks[0]["start"]
    start += len(text[: len(text) - len(text.lstrip())].encode())
    text = text.strip()
    return Passage(
        knowledge=opened.version.ref,
        document=group.best["document"],
        title=group.best["title"],
        text=text,
        start=start,
        end=start + len(text.encode()),
        page=group.best["page"],
        score=group.score,
    )
