"""An answer without a model: the sentences that answer a question, or that none does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from baigong.knowledge.quote import Quote
from baigong.knowledge.support import support, weigh
from baigong.types import Passage, Retrieve

JUDGED = 10  # passages that are weighed against each other, however few are shown
# The support from which on a question is answered: about the best F1, 0.75, on the training questions
# of bench/answers.py. Below it more is answered, and more of what is not in the documents.
ANSWERED = 0.45


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
    """The quotations that answer, best first; where none does, the nearest ones."""

    is_answered: bool
    quotes: tuple[Quoted, ...]


def quote_answer(question: str, passages: Sequence[Passage], limit: int = 3) -> QuotedAnswer:
    """What passages answer a question in their own words.

    Args:
        question: what is asked, whole (see `followup.standalone`).
        passages: what a search found, best first; `JUDGED` of them, however few shall be quoted.
        limit: quotations at most.
    """
    found = [Quoted(one.passage, one.quote, support(one), one.evidence.quoted)
             for one in weigh(question, passages)]  # fmt: skip
    found.sort(key=lambda quoted: -quoted.support)
    if not found or found[0].support < ANSWERED:
        return QuotedAnswer(False, tuple(found[:limit]))
    return QuotedAnswer(True, tuple(one for one in found[:limit] if one.support >= ANSWERED))


async def find(retrieve: Retrieve, question: str, limit: int) -> tuple[list[Passage], bool]:
    """The `limit` best passages for a question, and whether they, or those next to them, answer it."""
    passages = await retrieve(question, max(limit, JUDGED))
    judged = await asyncio.to_thread(quote_answer, question, passages[:JUDGED])
    return passages[:limit], judged.is_answered
