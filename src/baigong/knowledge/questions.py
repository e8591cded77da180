"""Questions that a knowledge base makes of itself, so that it is measured before anybody asks.

They share words with the passage that they are made from, more than a person's question does. So
they show whether each passage can be found among all that resemble it, whether cuts and headings
help, and what a change of embedder, chunk size or source does; they do not show whether the base
understands people who say it in other words. For that, write questions of your own.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunk, chunk
from baigong.knowledge.formats import Document
from baigong.knowledge.measure import Question
from baigong.knowledge.quote import sentences
from baigong.knowledge.terms import terms, unspaced_share

MADE = 60  # questions; a share of 0.8 is then known to about 0.1
_DOCUMENTS = 200  # that are read for them, so that a large base takes no longer than a small one
_SHORTEST, _LONGEST = 24, 400  # characters of a sentence; a Chinese one is half as long
_KEPT = 0.65  # of a sentence's telling words


def made_questions(bases: KnowledgeBases, knowledge: str, count: int = MADE) -> list[Question]:
    """Up to `count` questions from its sentences and headings, the same ones each time.

    Two of three are the rarer words of a sentence, a third of them dropped, the rest in another
    order; the third asks for a section by its heading. Documents take turns, so that a long one is
    not all there is.

    Raises:
        NotFound: there is no such knowledge base.
    """
    documents = sorted(bases.documents(knowledge), key=lambda one: _lot(one.path))[:_DOCUMENTS]
    read = [bases.parsed(knowledge, document.path) for document in documents]
    found = [list(_of_document(document)) for document in read]
    rare = Counter(term for document in read for term in set(terms(document.text)))
    turns = (made[turn] for turn in range(count) for made in found if turn < len(made))
    asked: dict[str, Question] = {}
    for source in turns:
        question = source.asked(rare, len(read))
        if question:
            asked.setdefault(question, Question(question, source.document, source.sentence))
        if len(asked) == count:
            break
    return list(asked.values())


class _Source(msgspec.Struct, frozen=True):
    """A sentence to be found, below the last of its headings, if it is asked for by that."""

    document: str
    sentence: str
    heading: str = ""

    def asked(self, rare: Counter[str], documents: int) -> str:
        if self.heading:
            return _ask_heading(self.heading)
        return _ask_words(self.sentence, rare, documents)


def _of_document(document: Document) -> Iterator[_Source]:
    """Its sentences in an order by lot; each third one is asked for by its section's heading."""
    found = [(piece, below) for part in chunk(document) for piece, below in _sentences_of(part)]
    found.sort(key=lambda one: _lot(document.path + one[0]))
    for place, (sentence, heading) in enumerate(found):
        yield _Source(document.path, sentence, heading if place % 3 == 2 else "")


def _sentences_of(part: Chunk) -> Iterator[tuple[str, str]]:
    heading = part.title if " › " in part.title else ""
    for piece in sentences(part.text):
        text = " ".join(piece.split())
        least = _SHORTEST / 2 if unspaced_share(text) > 0.3 else _SHORTEST
        if least <= len(text) <= _LONGEST and not text.startswith(("#", "|", "```")):
            yield text, heading


def _ask_heading(path: str) -> str:
    *above, last = path.split(" › ")
    where = above[-1]
    if unspaced_share(last) > 0.3:
        return f"关于{where}，{last}是怎么规定的？"
    return f"What does {where} say about {last}?"


_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*|\d[\d.,:%-]*\d|\d")
_CLAUSE = re.compile("[的了是在和与或及而并且对于为从到将被把由其等]|[^\u3400-\u9fff\\w]+")


def _ask_words(sentence: str, rare: Counter[str], documents: int) -> str:
    """The telling pieces of a sentence: words, or what stands between the joints of a Chinese one."""
    if unspaced_share(sentence) > 0.3:
        pieces = [piece for piece in _CLAUSE.split(sentence) if piece]
        pieces = [piece[:6] for piece in pieces if len(piece) > 1]
    else:
        pieces = list(dict.fromkeys(word for word in _WORD.findall(sentence) if len(word) > 2))
    weighed = sorted(pieces, key=lambda piece: -_rarity(piece, rare, documents))
    kept = weighed[: max(2, round(_KEPT * len(weighed)))][:12]
    if len(kept) < 2:
        return ""
    return " ".join(sorted(dict.fromkeys(kept), key=_lot))


def _rarity(piece: str, rare: Counter[str], documents: int) -> float:
    found = [math.log((1 + documents) / (1 + rare[term])) for term in terms(piece)]
    return sum(found) / max(1, len(found))


def _lot(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
