"""An answer without a model: the sentences that answer a question, or that none does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from baigong.knowledge.quote import Quote
from baigong.knowledge.support import Weighed, alike, support, weigh
from baigong.types import Passage, Retrieve, Vectors

JUDGED = 10  # passages that are weighed against each other, however few are shown
# The support from which on a question is answered: about the best F1 on the training questions of
# bench/answers.py. Below it more is answered, and more of what is not in the documents.
ANSWERED = 0.35


class Quoted(msgspec.Struct, frozen=True):
    """A passage and its sentences.

    Attributes:
        support: how likely they answer the question, 0 to 1.
        held: the share of the question that they hold, by weight.
    """

    passage: Passage
    quote: Quote
    support: float
    held: float


class QuotedAnswer(msgspec.Struct, frozen=True):
    """The quotations that answer, best first; where none does, the nearest ones.

    Attributes:
        also: passages of other documents that say the like of the first: another quarter's report.
    """

    is_answered: bool
    quotes: tuple[Quoted, ...]
    also: tuple[Passage, ...] = ()


def quote_answer(
    question: str,
    passages: Sequence[Passage],
    vectors: Vectors,
    limit: int = 3,
    *,
    in_order: bool = False,
) -> QuotedAnswer:
    """What passages answer a question in their own words.

    Args:
        question: what is asked, whole (see `followup.standalone`).
        passages: what a search found, best first; `JUDGED` of them, however few shall be quoted.
        vectors: what tells how near sentences are; the weights are fitted to the package's.
        limit: quotations at most.
        in_order: those that answer come in the order of `passages`: a reranker chose it.
    """
    return answer_of(weigh(question, passages, vectors), limit, in_order=in_order)


def answer_of(
    weighed: Sequence[Weighed], limit: int = 3, *, in_order: bool = False
) -> QuotedAnswer:
    """The same of passages that are weighed already."""
    found = [(support(one), one) for one in weighed]
    found.sort(key=lambda one: (one[0] < ANSWERED, 0.0) if in_order else (False, -one[0]))
    best = [Quoted(one.passage, one.quote, likely, one.evidence.quoted) for likely, one in found]
    if not best or best[0].support < ANSWERED:
        return QuotedAnswer(False, tuple(best[:limit]))
    quotes = tuple(one for one in best[:limit] if one.support >= ANSWERED)
    return QuotedAnswer(True, quotes, _alike([one for _, one in found], len(quotes)))


def _alike(found: Sequence[Weighed], quoted: int) -> tuple[Passage, ...]:
    """Of those that are not quoted, each document once."""
    told = {one.passage.document for one in found[:quoted]}
    also: dict[str, Passage] = {}
    for one in found[quoted:]:
        if one.passage.document not in told and alike(one.says, found[0].says):
            also.setdefault(one.passage.document, one.passage)
    return tuple(also.values())


async def find(
    retrieve: Retrieve, question: str, limit: int, vectors: Vectors
) -> tuple[list[Passage], bool]:
    """The `limit` best passages for a question, and whether they, or those next to them, answer it."""
    passages = await retrieve(question, max(limit, JUDGED))
    judged = await asyncio.to_thread(quote_answer, question, passages[:JUDGED], vectors)
    return passages[:limit], judged.is_answered
