"""Citations: what was found beside an answer, and which sentences of the answer stand on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from baigong.industry.embedder import sentence_vectors
from baigong.knowledge.quote import Quote, best_quote, words_of
from baigong.knowledge.terms import question_terms
from baigong.types import Passage


class Citation(msgspec.Struct, frozen=True):
    """A passage beside an answer. `start:end` and the quote's span are bytes in the document.

    Of rows of a table `table` has the caption, the head and the rows, in Markdown; else it is "".
    `published_at` is in seconds since the epoch, `url` where a person may open the source.
    `is_supported` says whether the passage holds what the answer cites it for; None where the
    answer does not name it.
    """

    number: int
    knowledge: str
    document: str
    title: str
    text: str
    start: int
    end: int
    quote: str
    quote_start: int
    quote_end: int
    score: float
    page: int | None = None
    published_at: float | None = None
    url: str | None = None
    table: str = ""
    is_supported: bool | None = None


class Mark(msgspec.Struct, frozen=True):
    """A `[1]` in an answer; `start:end` are the characters that stand on it, `number` what it names.

    `is_supported` is False where the passage does not hold them, or there is no such passage.
    """

    number: int
    start: int
    end: int
    is_supported: bool


def cite(question: str, passages: Sequence[Passage]) -> list[Citation]:
    """The passages, numbered from 1 as in a prompt, each with its best sentences."""
    return [
        citation_of(number, passage, best_quote(question, passage, sentence_vectors))
        for number, passage in enumerate(passages, start=1)
    ]


def citation_of(number: int, passage: Passage, quote: Quote) -> Citation:
    return Citation(
        number,
        passage.knowledge,
        passage.document,
        passage.title,
        passage.text,
        passage.start,
        passage.end,
        quote.text,
        quote.start,
        quote.end,
        passage.score,
        passage.page,
        passage.published_at,
        passage.url,
        quote.table,
    )


_MARK = re.compile(r"[\[【]\s*(\d{1,2}(?:\s*[,，、]\s*\d{1,2})*)\s*[\]】]")
_STOP = re.compile(r"[。！？；!?]+[”’」』）)\"']*|[.][\"')]*(?=\s|$)|\n")


def marks(answer: str, citations: Sequence[Citation]) -> list[Mark]:
    """What an answer cites: each `[1]` or `【1】`, in order, with the words that it stands for.

    They are those before it, as far as the sentence or the mark before; in an answer that begins
    with a mark, those after it, as far as the next.
    """
    found = list(_MARK.finditer(answer))
    if not found:
        return []
    leads = not answer[: found[0].start()].strip()
    texts = {one.number: words_of(f"{one.title}\n{one.text}\n{one.table}") for one in citations}
    made = []
    for at, match in enumerate(found):
        start, end = _after(answer, found, at) if leads else _before(answer, found, at)
        for number in map(int, re.findall(r"\d+", match[1])):
            held = texts.get(number)
            is_supported = held is not None and supports(held, answer[start:end])
            made.append(Mark(number, start, end, is_supported))
    return made


def marked(citations: Sequence[Citation], found: Sequence[Mark]) -> tuple[Citation, ...]:
    """The citations, each that is named with whether it holds all that it is cited for."""
    held: dict[int, bool] = {}
    for mark in found:
        held[mark.number] = held.get(mark.number, True) and mark.is_supported
    return tuple(
        msgspec.structs.replace(one, is_supported=held[one.number]) if one.number in held else one
        for one in citations
    )


_SHARE = 0.5  # of a sentence's words that its passage must hold
_NUMBER = re.compile(r"\d")


def supports(held: frozenset[str], claim: str) -> bool:
    """Whether a passage of these words holds a claim: half of its words, and all of its numbers.

    It compares words and understands none: "free" and "not free" are one to it.
    """
    wanted = words_of(" ".join(question_terms(claim)))
    if any(_NUMBER.search(word) and word not in held for word in wanted):
        return False
    # Of Chinese, pairs: most characters stand in most texts.
    told = [word for word in wanted if len(word) > 1] or list(wanted)
    return bool(told) and sum(word in held for word in told) >= _SHARE * len(told)


def _after(answer: str, found: Sequence[re.Match[str]], at: int) -> tuple[int, int]:
    """From the end of a mark, and of those that follow at once, to the next one."""
    last = at
    while last + 1 < len(found) and not answer[found[last].end() : found[last + 1].start()].strip():
        last += 1
    end = found[last + 1].start() if last + 1 < len(found) else len(answer)
    return _trimmed(answer, found[last].end(), end)


def _before(answer: str, found: Sequence[re.Match[str]], at: int) -> tuple[int, int]:
    """From where the sentence before a mark, and before those that stand at once before it, begins."""
    first = at
    while first and not answer[found[first - 1].end() : found[first].start()].strip(" .。,，"):
        first -= 1
    end = found[first].start()
    begin = found[first - 1].end() if first else 0
    body = answer[:end].rstrip()
    for stop in _stops(body, begin):
        if body[stop:].strip():  # the stop at the very end closes this sentence itself
            begin = stop
    return _trimmed(answer, begin, end)


def _stops(text: str, begin: int) -> Iterator[int]:
    return (match.end() for match in _STOP.finditer(text, begin))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip(" \n.。,，;；:："))
    return begin, max(begin, start + len(piece.rstrip()))
