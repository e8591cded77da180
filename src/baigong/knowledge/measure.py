"""How well a knowledge base answers: retrieval measured on questions with a known document."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from baigong.errors import DataProblems, Problem
from baigong.types import Passage

_DEPTH = 10


class Question(msgspec.Struct, frozen=True):
    """A question, the document that answers it and, if known, the words that do."""

    question: str
    document: str
    quote: str | None = None


class Quality(msgspec.Struct, frozen=True):
    """Means over the questions, 0 to 1. A question whose answer is not in the top 10 counts 0."""

    questions: int
    recall_at_1: float
    recall_at_3: float
    recall_at_10: float
    mrr: float
    ndcg_at_10: float


def read_questions(path: Path) -> list[Question]:
    """Questions from a JSONL file.

    Raises:
        DataProblems: every line that is not a question, by its number.
    """
    questions = []
    problems = []
    decoder = msgspec.json.Decoder(Question)
    # On "\n" alone: texts may hold other characters that str.splitlines() takes for line ends.
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            questions.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            problems.append(Problem(path.name, number, "", str(error)))
    if problems or not questions:
        raise DataProblems(
            problems or [Problem(path.name, None, "", "holds no questions.")],
            hint='Each line is {"question": "...", "document": "..."}, with "quote" if known.',
        )
    return questions


def measure(
    questions: Sequence[Question], find: Callable[[str, int], Sequence[Passage]]
) -> Quality:
    """Ask `find(question, 10)` every question; how high the answers rank.

    A passage answers if it is of the question's document and, where a quote is given, holds it
    (blanks aside). Without a quote each document counts once, at its best rank.
    """
    ranks = [_rank(question, find(question.question, _DEPTH)) for question in questions]
    found = [rank for rank in ranks if rank is not None]
    total = max(1, len(questions))
    return Quality(
        questions=len(questions),
        recall_at_1=sum(rank == 1 for rank in found) / total,
        recall_at_3=sum(rank <= 3 for rank in found) / total,
        recall_at_10=len(found) / total,
        mrr=sum(1 / rank for rank in found) / total,
        ndcg_at_10=sum(1 / math.log2(1 + rank) for rank in found) / total,
    )


def ndcg(ranked: Sequence[str], relevant: Collection[str], depth: int = _DEPTH) -> float:
    """Normalised discounted cumulative gain of ranked documents, every relevant one worth 1."""
    gain = sum(
        1 / math.log2(1 + rank)
        for rank, document in enumerate(ranked[:depth], start=1)
        if document in relevant
    )
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(depth, len(relevant)) + 1))
    return gain / ideal if ideal else 0.0


def ranked_documents(passages: Sequence[Passage]) -> list[str]:
    """The documents of passages, each once, at its best rank."""
    return list(dict.fromkeys(passage.document for passage in passages))


def _rank(question: Question, passages: Sequence[Passage]) -> int | None:
    if question.quote is None:
        found = [document == question.document for document in ranked_documents(passages)]
    else:
        wanted = _squeezed(question.quote)
        found = [
            passage.document == question.document and wanted in _squeezed(passage.text)
            for passage in passages
        ]
    return found.index(True) + 1 if True in found else None


def _squeezed(text: str) -> str:
    return "".join(text.split())
