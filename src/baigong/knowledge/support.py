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

from baigong.knowledge.quote import Quote, asked_words, best_quote, words_of
from baigong.types import Passage


class Evidence(NamedTuple):
    """What speaks for a passage.

    Attributes:
        quoted: share of the question, by weight, that the quoted sentences and their headings hold.
        rank: how well its words match, as a share of the best one's.
        peak: how far, of 1, the best match by words stands above the others.
        missing: share of the question's names, numbers and codes that the passage lacks.
        nearer: how much nearer it is than the others on average, as a cosine; 0 without vectors.
    """

    quoted: float
    rank: float
    peak: float
    missing: float
    nearer: float


class Weighed(NamedTuple):
    """A passage, its best sentences, and what speaks for them."""

    passage: Passage
    quote: Quote
    evidence: Evidence


class _Weights(NamedTuple):
    of: Evidence
    bias: float


_WORDS = _Weights(Evidence(quoted=3.75, rank=7.39, peak=6.51, missing=-2.58, nearer=0.0), -12.88)
_VECTORS = _Weights(Evidence(quoted=3.42, rank=6.15, peak=4.66, missing=-2.57, nearer=4.82), -11.2)


def support(weighed: Weighed) -> float:
    """How likely the passage answers, 0 to 1."""
    weights = _WORDS if weighed.passage.nearness is None else _VECTORS
    told = zip(weights.of, weighed.evidence, strict=True)
    return 1 / (1 + math.exp(-weights.bias - sum(weight * value for weight, value in told)))


def weigh(question: str, passages: Sequence[Passage]) -> list[Weighed]:
    """What speaks for each of the passages, which are a search's best ones.

    They are held against each other: what all of them say tells little. So give some ten, however
    few shall be shown.
    """
    held = [words_of(passage.whole) for passage in passages]
    quotes = [best_quote(question, passage) for passage in passages]
    parts = _parts(question)
    weights = _weights(parts, held)
    names = _names(question)
    matched = [passage.matched for passage in passages]
    best, peak = max(matched, default=0.0), _peak(matched, [words_of(one.text) for one in quotes])
    near = [passage.nearness or 0.0 for passage in passages]
    usual = sum(near) / max(1, len(near))
    found = []
    for passage, words, quote in zip(passages, held, quotes, strict=True):
        quoted = words_of(f"{passage.title}\n{quote.table or quote.text}")
        found.append(
            Weighed(
                passage,
                quote,
                Evidence(
                    quoted=_share([part.credit(quoted) for part in parts], weights),
                    rank=passage.matched / best if best else 0.0,
                    peak=peak,
                    missing=sum(not name <= words for name in names) / max(1, len(names)),
                    nearer=(passage.nearness or usual) - usual,
                ),
            )
        )
    return found


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


def _share(credits_: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    held = sum(credit * weight for credit, weight in zip(credits_, weights, strict=True))
    return held / total if total else 0.0


_NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][\w-]+|\b\w*\d[\w.-]*")


def _names(question: str) -> list[frozenset[str]]:
    """Latin words with a capital inside the sentence, numbers and codes, each as its words."""
    found = [words_of(match[0]) for match in _NAME.finditer(_HAN.sub(" ", question))]
    return [words for words in found if words]


_FEW = 2  # passages that are added to the others, each half as good as the best
_SAME = 0.6  # of the words of two quotations, from which on they say the same


def _peak(scores: Sequence[float], quoted: Sequence[frozenset[str]]) -> float:
    """0 where others are as good as the best. Of one or two passages little can be said: near 0.5.

    Who says the same as the best does not stand against it: yesterday's news, or a copy.
    """
    if not scores or max(scores) <= 0:
        return 0.0
    first = max(range(len(scores)), key=lambda n: scores[n])
    others = [
        score
        for n, (score, words) in enumerate(zip(scores, quoted, strict=True))
        if n != first and len(words & quoted[first]) < _SAME * len(words | quoted[first])
    ]
    return 1 - (sum(others) / scores[first] + _FEW * 0.5) / (len(others) + _FEW)
