"""The sentences of a passage that answer a question best: a citation that needs no generation."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from baigong.knowledge.tables import Table, cells, tables
from baigong.knowledge.terms import question_terms, terms
from baigong.types import Passage, Vectors


class Quote(msgspec.Struct, frozen=True):
    """Words of a document, `start:end` in bytes of its text. `score` is 0 where no word matched.

    Attributes:
        table: the rows under their caption and head, in Markdown; "" for what is no table.
    """

    text: str
    start: int
    end: int
    score: float
    table: str = ""

    @property
    def shown(self) -> str:
        """What a person reads."""
        return self.table or " ".join(self.text.split())


# Ends a sentence: Chinese full stops with the quotes that close after them; Western ones before a
# blank (so not 3.5 or example.com); a line end, unless a small letter
# goes on after it.
_SENTENCE = re.compile(
    r".+?(?:[。！？；!?]+[”’」』）)\"']*|[.][\"')]*(?=\s|$)|(?=\n(?![a-z]))|$)", re.DOTALL
)
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|No|Fig|St|[A-Z])\.$")
_INHERITED = 0.6  # of its heading's or question's match that the sentence below it is credited
# What the nearest sentence has before one that is not near at all, where 1 is all of the question's
# words. Chosen on half of the questions of bench/answers.py: no less of their answers are quoted, and
# in another language than the question's, where words say nothing, nearness decides.
_NEAR = 0.4
# A question for a figure, and what a sentence with one that the question does not give has before others.
_COUNTS = re.compile(
    r"\bhow (?:much|many|long|old|far|large|high)\b|\b(?:total|amount|rate|percentage|number)\b"
    r"|\bwhat (?:is|was|are|were)\b.*\b(?:19|20)\d\d\b|多少|几|幾|[率额額]是?",
    re.IGNORECASE,
)
_FIGURED = 0.15
_FIGURE = re.compile(r"\d")
_WHEN = re.compile(r"(?:19|20)\d\d年?|q[1-4]")
_BESIDE = 0.4  # of its match that a row loses with a label of other words alone
_WORTH_ADDING = 0.3  # of the match so far that a second sentence must add


class _Piece(msgspec.Struct, frozen=True):
    """A sentence, or a row of a table with what stands `above` it."""

    text: str
    start: int
    words: frozenset[str]
    above: frozenset[str] = frozenset()
    leads: bool = False  # says what comes next, and is not itself an answer: a heading, a question
    table: Table | None = None
    group: str = ""

    @property
    def read(self) -> str:
        """The words with those that they stand under."""
        return self.text if self.table is None else f"{self.table.above}\n{self.group}\n{self.text}"

    @property
    def figures(self) -> frozenset[str]:
        """Years and quarters aside, which only say when."""
        return frozenset(w for w in self.words if _FIGURE.search(w) and not _WHEN.fullmatch(w))

    @property
    def label(self) -> str:
        """What it speaks of: of a row its group and first cell."""
        return self.text if self.table is None else f"{self.group} {cells(self.text)[0]}"


class Choice(NamedTuple):
    """The words of a passage that answer best.

    Attributes:
        close: how near the question is to the nearest sentence, as a cosine; 0 without vectors.
        says: its words without figures, of a row those of its label: what two reports have alike.
    """

    quote: Quote
    close: float
    says: frozenset[str]


def best_quote(
    question: str, passage: Passage, vectors: Vectors | None = None, *, sentences: int = 2
) -> Quote:
    """The sentence or row of a table that answers a question best; see `choose`."""
    return choose(question, [passage], vectors, sentences=sentences)[0].quote


def choose(
    question: str,
    passages: Sequence[Passage],
    vectors: Vectors | None = None,
    *,
    sentences: int = 2,
) -> list[Choice]:
    """Of each passage the sentence or row with the most, and the rarest, of the question's words.

    Nearness counts too, where there are vectors. A neighbour that adds much to the match comes
    along, up to `sentences` in a row. Where nothing matches it is the first sentence, with score 0.
    """
    leads = [f"{passage.lead}\n" if passage.lead else "" for passage in passages]
    several = [
        list(_pieces(lead + passage.text, len(lead)))
        for lead, passage in zip(leads, passages, strict=True)
    ]
    near = iter(_nearness(question, [piece for pieces in several for piece in pieces], vectors))
    return [
        _chosen(question, passage, pieces, list(islice(near, len(pieces))), sentences)
        for passage, pieces in zip(passages, several, strict=True)
    ]


def _chosen(
    question: str, passage: Passage, pieces: list[_Piece], near: list[float], sentences: int
) -> Choice:
    if not pieces:
        whole = Quote(passage.text, passage.start, passage.end, 0.0)
        return Choice(whole, 0.0, _says(passage.text))
    asked = asked_words(question)
    weights = _weights(asked, pieces)
    scores = list(_scores(pieces, weights))
    total = sum(weights.values()) + _unseen(asked - weights.keys(), len(pieces))
    counts = _COUNTS.search(question) is not None

    def merit(n: int) -> tuple[float, int]:
        figure = _FIGURED if counts and pieces[n].figures - asked else 0.0
        return scores[n] / max(total, 1e-9) + _NEAR * near[n] + figure, -n

    answers = [n for n, piece in enumerate(pieces) if not piece.leads] or range(len(pieces))
    best = max(answers, key=merit)
    first, last = _widened(pieces, weights, best, sentences)
    begin, end = pieces[first].start, pieces[last].start + len(pieces[last].text)
    start = passage.start + len(passage.text[:begin].encode())
    text = passage.text[begin:end]
    chosen = pieces[first : last + 1]
    quote = Quote(text, start, start + len(text.encode()), scores[best], _shown(chosen))
    return Choice(quote, max(near), _says(" ".join(piece.label for piece in chosen)))


def _nearness(question: str, pieces: Sequence[_Piece], vectors: Vectors | None) -> list[float]:
    """The cosine of each piece with the question; 0 without vectors. One call for all: each has its price."""
    if vectors is None or not pieces:
        return [0.0] * len(pieces)
    found = vectors([question, *(piece.read for piece in pieces)])
    near: list[float] = (found[1:] @ found[0]).tolist()
    return near


def _unseen(words: Iterable[str], pieces: int) -> float:
    """What words would weigh that are in none of the pieces: of a question in another language most."""
    return sum(math.log(1 + pieces) * _size(word) for word in words)


def _says(text: str) -> frozenset[str]:
    return frozenset(word for word in words_of(text) if not _FIGURE.search(word))


def _shown(pieces: Sequence[_Piece]) -> str:
    """Rows below what they stand under, as they would be written."""
    table = pieces[0].table
    if table is None:
        return ""
    rows = [line for piece in pieces for line in (piece.group, piece.text) if line]
    return "\n".join([table.above, *dict.fromkeys(rows)])


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without blanks around them."""
    return [piece.text for piece in _sentences(text)]


def _pieces(text: str, since: int) -> Iterator[_Piece]:
    """The sentences and rows of a text from character `since` on, which is their place 0."""
    at = since
    for table in tables(text):
        if at < table.start:
            yield from _sentences(text[at : table.start], at - since, table.caption)
        above = words_of(table.above)
        for row in table.rows:
            if row.start >= since and row.text.strip("| "):
                words, over = words_of(row.text), above | words_of(row.group)
                start = row.start - since
                yield _Piece(row.text, start, words, over, row.is_group, table, row.group)
        at = max(since, table.end)
    yield from _sentences(text[at:], at - since)


def _sentences(text: str, place: int = 0, caption: str = "") -> Iterator[_Piece]:
    """Those of a text that begins at `place` and ends with the `caption` of a table."""
    titles = () if caption.endswith((".", "。")) else caption.split("\n")
    begin = 0
    for match in _SENTENCE.finditer(text):
        if _ABBREVIATION.search(match.group()[-8:]) and match.end() < len(text):
            continue  # its end is not the end of a sentence: the next match completes it
        piece = text[begin : match.end()]
        start = begin + len(piece) - len(piece.lstrip())
        begin = match.end()
        words = piece.strip()
        if words:
            leads = words.startswith("#") or words.endswith(("?", "？")) or words in titles
            yield _Piece(words, place + start, words_of(piece), leads=leads)


_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|s)$")


def words_of(text: str) -> frozenset[str]:
    """The words of a text as they are compared: English ones without their commonest endings."""
    return frozenset(_ENDING.sub("", t) if t[-1] in "gds" else t for t in terms(text))


# Words that ask, or carry a question along, and that its answer seldom repeats.
_HOW = re.compile(
    r"\bhow (?:long|many|much|often|far|old|soon|large|high)\b"
    r"|\b(?:take|takes|get|gets|happen|happens|need|want|know|tell|mean|means|now)\b",
    re.IGNORECASE,
)


def asked_words(question: str) -> frozenset[str]:
    """The words of a question that its answer may hold."""
    bare = question_terms(_HOW.sub(" ", question)) or question_terms(question)
    return frozenset(_ENDING.sub("", term) for term in bare)


def _weights(asked: frozenset[str], pieces: Sequence[_Piece]) -> dict[str, float]:
    """Inverse document frequency, the sentences being the documents. Pairs say more than one."""
    seen = Counter(word for piece in pieces for word in (piece.words | piece.above) & asked)
    return {word: math.log(1 + len(pieces) / count) * _size(word) for word, count in seen.items()}


def _size(word: str) -> float:
    return 1.0 if len(word) > 1 else 0.3


def _scores(pieces: Sequence[_Piece], weights: dict[str, float]) -> Iterator[float]:
    led = 0.0
    for piece in pieces:
        own = _sum(piece.words, weights) * (1 - _BESIDE * _strange(piece, weights))
        over = led if piece.table is None else _INHERITED * _sum(piece.above - piece.words, weights)
        # Of two that match alike the shorter is the better quote.
        yield (own + over) / (1 + len(piece.words) / 200)
        led = own * _INHERITED if piece.leads else 0.0


def _strange(piece: _Piece, weights: dict[str, float]) -> float:
    """The share of a row's label that was not asked for: `Total other sales` is not `Total sales`."""
    label = _says(cells(piece.text)[0]) if piece.table is not None else frozenset()
    return sum(word not in weights for word in label) / len(label) if label else 0.0


def _sum(words: frozenset[str], weights: dict[str, float]) -> float:
    return sum(weights.get(word, 0.0) for word in words)


def _widened(
    pieces: Sequence[_Piece], weights: dict[str, float], best: int, sentences: int
) -> tuple[int, int]:
    """The first and last sentence of the quote around `best`; a table goes with rows of its own."""
    first = last = best
    table = pieces[best].table
    covered = pieces[best].words | pieces[best].above
    while last - first + 1 < sentences:
        have = _sum(covered, weights)
        gains = {
            n: _sum(pieces[n].words - covered, weights)
            for n in (first - 1, last + 1)
            if 0 <= n < len(pieces) and not pieces[n].leads and pieces[n].table is table
        }
        near = max(gains, key=lambda n: gains[n], default=best)
        if near == best or gains[near] <= _WORTH_ADDING * have:
            break
        covered |= pieces[near].words
        first, last = min(first, near), max(last, near)
    return first, last
