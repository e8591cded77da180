"""How likely a passage answers a question, from evidence that costs no model.

A few numbers are weighed by a logistic model that `bench/answers.py` fits and measures. The shape
of sentences, kinds of answer (a number, a date) and the longest common stretch were tried as well,
and trees over all of them: none did better on other questions than those it was fitted on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from baigong.knowledge.quote import Choice, Quote, asked_words, choose, words_of
from baigong.knowledge.terms import unspaced_share
from baigong.types import Passage, Vectors


class Evidence(NamedTuple):
    """What speaks for a passage.

    Attributes:
        quoted: share of the question, by weight, that the quoted sentences and their headings hold.
        named: share that its headings hold, less that of the passage whose headings hold most.
        rank: how well its words match, as a share of the best one's.
        peak: how far, of 1, the best match by words stands above those that say something else.
        missing: share of the question's names, numbers and codes that it lacks, and all that was
            found of its document.
        close: the cosine of the question and the nearest sentence.
        clear: how much closer it is than those that say something else.
    """

    quoted: float
    named: float
    rank: float
    peak: float
    missing: float
    close: float
    clear: float


class Weighed(NamedTuple):
    """A passage, its best sentences, and what speaks for them.

    Attributes:
        says: the words of the quote without its figures.
        is_across: the question is in another script, so that words say nothing.
    """

    passage: Passage
    quote: Quote
    evidence: Evidence
    says: frozenset[str] = frozenset()
    is_across: bool = False


class _Weights(NamedTuple):
    of: Evidence
    bias: float


# `named` is held at 5 and the others are fitted beside it: fitted too it goes to 12, no better on the
# questions fitted to, and mistrusts a page whose neighbour is named for a word of the question.
# Fitted and, for `_ACROSS`, moved so that one threshold serves both, by `bench/answers.py --fit`.
_WITHIN = _Weights(
    Evidence(quoted=2.2, named=5.0, rank=5.18, peak=6.49, missing=-4.31, close=4.43, clear=0.0),
    -12.27,
)
_ACROSS = _Weights(
    Evidence(quoted=0.0, named=0.0, rank=0.0, peak=0.0, missing=-3.06, close=0.0, clear=8.97), -2.53
)


def support(weighed: Weighed) -> float:
    """How likely the passage answers, 0 to 1."""
    weights = _ACROSS if weighed.is_across else _WITHIN
    told = zip(weights.of, weighed.evidence, strict=True)
    return 1 / (1 + math.exp(-weights.bias - sum(weight * value for weight, value in told)))


def weigh(question: str, passages: Sequence[Passage], vectors: Vectors) -> list[Weighed]:
    """What speaks for each of the passages, which are a search's best ones.

    They are held against each other: what all of them say tells little. So give some ten, however
    few shall be shown. Who says the same does not stand against it: yesterday's news, a copy, or
    the same row of last quarter's report.
    """
    chosen = choose(question, passages, vectors)
    held = [words_of(passage.whole) for passage in passages]
    parts = _parts(question)
    weights = _weights(parts, held)
    named = [_share(parts, words_of(passage.title), weights) for passage in passages]
    best = max((passage.matched for passage in passages), default=0.0)
    peak = _peak(passages, chosen)
    missing = _missing(question, passages, held)
    found = []
    for at, (passage, one) in enumerate(zip(passages, chosen, strict=True)):
        quoted = words_of(f"{passage.title}\n{one.quote.table or one.quote.text}")
        evidence = Evidence(
            quoted=_share(parts, quoted, weights),
            named=named[at] - max(named),
            rank=passage.matched / best if best else 0.0,
            peak=peak,
            missing=missing[at],
            close=one.close,
            clear=one.close - _usual([chosen[n].close for n in _others(chosen, at)], _FAR),
        )
        found.append(
            Weighed(passage, one.quote, evidence, one.says, _is_across(question, passage.text))
        )
    return found


_SAME = 0.6  # of the words of two quotations, from which on they say the same


def alike(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two quotes of these words, figures aside, say the same of maybe other times."""
    return len(some & others) >= _SAME * len(some | others)


_UNSPACED = 0.3  # share of characters, from which on a text is Chinese, Japanese or Korean


def _is_across(question: str, text: str) -> bool:
    """Whether one is Chinese and the other is not."""
    return (unspaced_share(question) > _UNSPACED) != (unspaced_share(text) > _UNSPACED / 3)


# What makes a question of Chinese words, in both scripts; the rest is what it is about.
_ASKING = re.compile(
    "[为為]?什[么麼](?:时候|時候|样|樣)?|怎[么麼]?[样樣办辦]?|如何|[为為]何|[是能可]否|可以|[请請]?[问問]|多[少久长長大高远遠重快]"
    "|哪一?[里裡些个個年位种種天]?|何[时時地处處]?|几|幾|谁|誰"
    "|[吗嗎呢吧啊呀么麼的了是有在和与與及其它他她我你您们們个個被把就都也而会會能要应應该該]"
)
_HAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]+")
_ALONE = 0.35  # what a character that occurs, but not beside its neighbour, is worth


class _Part(NamedTuple):
    """A word, or a character and its pairs with those beside it in the question."""

    text: str
    pairs: tuple[str, ...] = ()
    is_character: bool = False

    def credit(self, words: frozenset[str]) -> float:
        """How much of it a text with these words holds, 0 to 1."""
        if self.text not in words:
            return 0.0
        return _ALONE if self.pairs and words.isdisjoint(self.pairs) else 1.0


def _parts(question: str) -> list[_Part]:
    about = _ASKING.sub(" ", question)
    latin = asked_words(_HAN.sub(" ", about))
    found = [_Part(word) for word in sorted(latin)]
    for run in _HAN.findall(about):
        for at, character in enumerate(run):
            beside = (run[max(0, at - 1) : at + 1], run[at : at + 2])
            pairs = tuple(pair for pair in beside if len(pair) == 2)
            found.append(_Part(character, pairs, is_character=True))
    return found


def _weights(parts: Sequence[_Part], held: Sequence[frozenset[str]]) -> list[float]:
    """What is rare among the passages is heavy; a character is half a word."""
    sums = [sum(part.credit(words) for words in held) for part in parts]
    return [
        math.log(1 + len(held) / (total + 0.5)) * (0.5 if part.is_character else 1.0)
        for part, total in zip(parts, sums, strict=True)
    ]


def _share(parts: Sequence[_Part], words: frozenset[str], weights: Sequence[float]) -> float:
    """How much of the question, by weight, a text of these words holds."""
    total = sum(weights)
    held = sum(part.credit(words) * weight for part, weight in zip(parts, weights, strict=True))
    return held / total if total else 0.0


_NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][\w-]+|\b\w*\d[\w.-]*")


def _names(question: str) -> list[frozenset[str]]:
    """Latin words with a capital inside the sentence, numbers and codes, each as its words."""
    found = [words_of(match[0]) for match in _NAME.finditer(_HAN.sub(" ", question))]
    return [words for words in found if words]


def _missing(
    question: str, passages: Sequence[Passage], held: Sequence[frozenset[str]]
) -> list[float]:
    """The share of the names that a passage lacks; one that its document has elsewhere is there."""
    names = _names(question)
    of_document: dict[str, frozenset[str]] = {}
    for passage, words in zip(passages, held, strict=True):
        before = of_document.get(passage.document) or words_of(passage.document)
        of_document[passage.document] = before | words
    return [
        sum(not name <= of_document[passage.document] for name in names) / max(1, len(names))
        for passage in passages
    ]


_FEW = 2  # passages that are added to the others, so that few say little
_FAR = 0.3  # the usual cosine of a question and what does not answer it


def _usual(values: Sequence[float], usual: float) -> float:
    return (sum(values) + _FEW * usual) / (len(values) + _FEW)


def _others(chosen: Sequence[Choice], at: int) -> list[int]:
    """The places of those that say something else."""
    says = chosen[at].says
    return [n for n, one in enumerate(chosen) if n != at and not alike(one.says, says)]


def _peak(passages: Sequence[Passage], chosen: Sequence[Choice]) -> float:
    """0 where others are as good as the best. Of one or two passages little can be said: near 0.5.

    Nor does the best one's own document stand against it: a report speaks of its subject throughout.
    """
    first = max(range(len(passages)), key=lambda n: passages[n].matched, default=None)
    if first is None or passages[first].matched <= 0:
        return 0.0
    own = passages[first].document
    others = [n for n in _others(chosen, first) if passages[n].document != own]
    return 1 - _usual([passages[n].matched / passages[first].matched for n in others], 0.5)
