"""Sentences, passages and content words out of plain documents, in Chinese and English."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from baigong.tuning.pretrain.corpus import Document
from baigong.tuning.pretrain.recipe import Language

_ENDS: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])"),
    "zh": re.compile(r"(?<=[。！？；])"),
}
_SENTENCE_SIZES: dict[Language, tuple[int, int]] = {"en": (35, 200), "zh": (12, 80)}
_PASSAGE_SIZES: dict[Language, int] = {"en": 330, "zh": 130}
_TRIES = 40

_COMMON = frozenset(
    "a an and are as at be been but by can did do does for from had has have he her him his how i "
    "if in into is it its may me more most my no not of on one or our out she so some such than "
    "that the their them then there these they this those to up was we were what when where which "
    "while who will with would you your also any about after all before between both each during "
    "other over under only very s t".split()
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|\d[\d,.]*\d|\d")
# Chinese has no spaces: words that mostly join others mark where a content phrase may end.
_JOINTS = re.compile(
    r"[^\u4e00-\u9fffA-Za-z0-9.]+|[的了是在和与及或等为于以被将对从到把也都就而且但并其这那之由向]+"
)


@dataclass(frozen=True)
class Passage:
    text: str
    sentences: tuple[str, ...]
    title: str
    source: str


def split_sentences(text: str, language: Language) -> list[str]:
    return [part.strip() for part in _ENDS[language].split(text) if part.strip()]


def is_quotable(sentence: str, language: Language) -> bool:
    low, high = _SENTENCE_SIZES[language]
    return low <= len(sentence) <= high and sentence[-1] in ".!?。！？；" and sentence[0] != "["


def content_words(sentence: str, language: Language) -> list[str]:
    """In the order of the sentence, without repeats."""
    if language == "en":
        words = [word for word in _WORD.findall(sentence) if word.lower() not in _COMMON]
    else:
        pieces = [piece.strip(" .") for piece in _JOINTS.split(sentence)]
        words = [piece[:6] if len(piece) <= 7 else piece[:4] for piece in pieces if len(piece) > 1]
    return list(dict.fromkeys(words))


def overlap(words: Sequence[str], sentence: str) -> int:
    lowered = sentence.lower()
    return sum(word.lower() in lowered for word in words)


def draw(documents: Sequence[Document], chance: random.Random) -> Document:
    """Documents stand in weighted order, so leaning to the front honours the sources' weights."""
    return documents[int(len(documents) * chance.random() ** 2)]


def take_passage(
    documents: Sequence[Document], language: Language, chance: random.Random, size: float = 1.0
) -> Passage:
    """A few sentences that stand together; `size` stretches how many."""
    for _ in range(_TRIES):
        passage = passage_of(draw(documents, chance), language, chance, size)
        if passage is not None:
            return passage
    raise ValueError(f"the {language} documents hold no sentence that can be quoted")


def passage_of(
    document: Document, language: Language, chance: random.Random, size: float = 1.0
) -> Passage | None:
    """Half of them are one paragraph, half a cut of the page with its headings."""
    lines = document.text.split("\n")
    wanted = int(_PASSAGE_SIZES[language] * size * chance.uniform(0.35, 1.0))
    if chance.random() < 0.5:
        text = _paragraph(lines, language, chance, wanted)
    else:
        text = _page_cut(document.title, lines, language, chance, wanted)
    sentences = tuple(
        sentence
        for line in text.split("\n")
        if not line.startswith("#")
        for sentence in split_sentences(line, language)
        if is_quotable(sentence, language)
    )
    if not sentences or len(text) > 1.3 * _PASSAGE_SIZES[language] * size:
        return None
    return Passage(text, sentences, document.title, document.source)


def _paragraph(lines: Sequence[str], language: Language, chance: random.Random, wanted: int) -> str:
    full = [line for line in lines if len(line) > _SENTENCE_SIZES[language][0]]
    if not full:
        return ""
    number = chance.randrange(len(full))
    sentences = split_sentences(full[number], language)
    # Aligned pages hold one sentence a line: their neighbours make the passage.
    if len(sentences) == 1:
        nearby = full[number : number + 3]
        sentences = [part for line in nearby for part in split_sentences(line, language)]
    first = chance.randrange(max(1, len(sentences) - 1))
    chosen: list[str] = []
    for sentence in sentences[first:]:
        if chosen and sum(map(len, chosen)) + len(sentence) > wanted:
            break
        chosen.append(sentence)
    return (" " if language == "en" else "").join(chosen)


def _page_cut(
    title: str, lines: Sequence[str], language: Language, chance: random.Random, wanted: int
) -> str:
    """Neighbouring lines as a Markdown page would hold them: blank lines between, headings marked."""
    first = chance.randrange(len(lines))
    chosen: list[str] = []
    if title and chance.random() < 0.3:
        chosen.append(f"# {title}")
    for line in lines[first:]:
        text = line
        if _is_heading(line, language):
            text = "## " + line.rstrip(".。:：")
        elif len(line) > wanted:  # a long paragraph gives its opening
            text = _opening(line, language, wanted)
        if chosen and sum(map(len, chosen)) + len(text) > wanted:
            break
        chosen.append(text)
    while chosen and chosen[-1].startswith("#"):
        chosen.pop()
    return "\n\n".join(chosen)


def _is_heading(line: str, language: Language) -> bool:
    limit = 40 if language == "en" else 16
    return len(line) <= limit and not line.endswith(("!", "?", ";", "！", "？", "；", ",", "，"))


def _opening(line: str, language: Language, wanted: int) -> str:
    kept: list[str] = []
    for sentence in split_sentences(line, language):
        if kept and sum(map(len, kept)) + len(sentence) > wanted:
            break
        kept.append(sentence)
    return (" " if language == "en" else "").join(kept)
