"""How well a knowledge base answers, measured on questions whose document is known."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from baigong.errors import DataProblems, Problem
from baigong.knowledge.answer import JUDGED, QuotedAnswer, quote_answer
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.quote import words_of
from baigong.knowledge.retrieve import Retriever, Search
from baigong.types import Embedders, Passage, Progress, Report, Vectors

_DEPTH = 10
_HOLDS = 0.7  # of the wanted words that a quotation must hold to be the right one


class Question(msgspec.Struct, frozen=True):
    """A question, the document that answers it and, if known, the words that do."""

    question: str
    document: str
    quote: str | None = None


class Ranking(msgspec.Struct, frozen=True):
    """Means over the questions, 0 to 1. A question whose answer is not in the top 10 counts 0."""

    questions: int
    recall_at_1: float
    recall_at_3: float
    recall_at_10: float
    mrr: float
    ndcg_at_10: float


class Quality(Ranking, frozen=True):
    """And what is quoted as the answer, again 0 to 1.

    Attributes:
        answered: questions that are answered at all.
        cited: questions whose first citation is of the right document and, where the words are
            known, quotes them.
        declined: questions that are found not to be in the documents once theirs is left out. One
            that another document answers as well counts against this.
        seconds: for a question, from its words to the quotations, one at a time.
    """

    answered: float
    cited: float
    declined: float
    seconds: float


async def measure_base(
    bases: KnowledgeBases,
    knowledge: str,
    questions: Sequence[Question],
    vectors: Vectors,
    embedders: Embedders | None = None,
    report: Report | None = None,
) -> Quality:
    """Ask a knowledge base all questions, and each again without the document that answers it.

    Raises:
        NotFound: there is no such knowledge base.
    """
    retrieve = Retriever(bases, knowledge, embedders)
    found: dict[str, Sequence[Passage]] = {}
    answered = cited = declined = 0
    spent = 0.0
    for done, asked in enumerate(questions, start=1):
        began = time.perf_counter()
        passages = await retrieve(asked.question, JUDGED)
        answer = await asyncio.to_thread(quote_answer, asked.question, passages, vectors)
        spent += time.perf_counter() - began
        found[asked.question] = passages
        answered += answer.is_answered
        cited += _is_cited(asked, answer)
        without = Retriever(bases, knowledge, embedders, search=Search(without=(asked.document,)))
        rest = await without(asked.question, JUDGED)
        other = await asyncio.to_thread(quote_answer, asked.question, rest, vectors)
        declined += not other.is_answered
        if report is not None:
            report(Progress(done, len(questions), "questions", done / max(spent, 1e-9)))
    ranking = measure(questions, lambda question, limit: found[question][:limit])
    total = max(1, len(questions))
    return Quality(
        **msgspec.structs.asdict(ranking),
        answered=answered / total,
        cited=cited / total,
        declined=declined / total,
        seconds=spent / total,
    )


def _is_cited(asked: Question, answer: QuotedAnswer) -> bool:
    if not answer.is_answered or answer.quotes[0].passage.document != asked.document:
        return False
    wanted = words_of(asked.quote or "")
    held = words_of(answer.quotes[0].quote.text)
    return len(wanted & held) >= _HOLDS * len(wanted)


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
) -> Ranking:
    """Ask `find(question, 10)` every question; how high the answers rank.

    A passage answers if it is of the question's document and, where a quote is given, holds it
    (blanks aside). Without a quote each document counts once, at its best rank.
    """
    ranks = [_rank(question, find(question.question, _DEPTH)) for question in questions]
    found = [rank for rank in ranks if rank is not None]
    total = max(1, len(questions))
    return Ranking(
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
