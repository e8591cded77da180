"""Chat-shaped tasks made from the text and from seeded chance: the shapes this base is tuned for."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from baigong.tuning.pretrain.corpus import Corpus, Document, Pair
from baigong.tuning.pretrain.drills import drill
from baigong.tuning.pretrain.extraction import extract_task
from baigong.tuning.pretrain.labelling import label_task
from baigong.tuning.pretrain.passages import split_sentences, take_passage
from baigong.tuning.pretrain.quoting import quote_task
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe
from baigong.tuning.pretrain.triage import triage_task

Turns = tuple[str, str, str]  # system (may be empty), user, assistant

DEFAULT_KINDS: Mapping[str, float] = {
    "quote": 0.36, "extract": 0.2, "triage": 0.14, "label": 0.15,
    "copy": 0.06, "translate": 0.06, "continue": 0.03,
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    kind: str
    language: Language
    system: str
    user: str
    assistant: str

    @property
    def prompt(self) -> str:
        system = f"<|im_start|>system\n{self.system}<|im_end|>\n" if self.system else ""
        return f"{system}<|im_start|>user\n{self.user}<|im_end|>\n<|im_start|>assistant\n"

    @property
    def answer(self) -> str:
        """The end mark is the model's to say; the newline after it is the template's."""
        return f"{self.assistant}<|im_end|>"


@dataclass(frozen=True)
class Material:
    """What tasks are made from: the training side of the corpus, or its held-back side."""

    documents: Mapping[Language, Sequence[Document]]
    pairs: Sequence[Pair]
    labels: Mapping[str, Mapping[Language, str]]


def material(corpus: Corpus, recipe: PretrainRecipe, *, held_back: bool = False) -> Material:
    labels = {source.name: source.label for source in recipe.sources if source.label}
    if held_back:
        return Material(corpus.held_back, corpus.held_back_pairs, labels)
    return Material(corpus.documents, corpus.pairs, labels)


def make_example(
    stuff: Material,
    kinds: Mapping[str, float],
    seed: int,
    index: int,
    size: float = 1.0,
    kind: str | None = None,
    language: Language | None = None,
) -> Example:
    """The same (seed, index) makes the same example, so a resumed run sees what it would have."""
    chance = random.Random(f"{seed}:{index}")
    weights = {name: weight for name, weight in (kinds or DEFAULT_KINDS).items() if weight > 0}
    drawn = chance.choices(list(weights), list(weights.values()))[0]
    drawn_language: Language = "zh" if chance.random() < 0.5 else "en"
    kind, language = kind or drawn, language or drawn_language
    system, user, assistant = TASKS[kind](stuff, language, chance, size)
    return Example(kind, language, system, user, assistant.strip())


def _quote(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    return quote_task(stuff.documents[language], language, chance, size)


def _extract(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    return extract_task(language, chance)


def _triage(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    return triage_task(language, chance)


def _label(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    return label_task(stuff.documents, stuff.labels, language, chance)


def _copy(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    return drill(stuff.documents[language], language, chance)


def _translate(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    """`language` is the one translated into."""
    for _ in range(50):
        pair = chance.choice(stuff.pairs)
        if max(len(pair.first), 2 * len(pair.second)) < 200:
            break
    into_first = pair.languages[0] == language
    source, target = (pair.second, pair.first) if into_first else (pair.first, pair.second)
    system = "Translate into English." if language == "en" else "翻译成中文。"
    return system, source, target


def _continue(stuff: Material, language: Language, chance: random.Random, size: float) -> Turns:
    text = take_passage(stuff.documents[language], language, chance, 1.5).text
    sentences = split_sentences(text, language)
    joint = " " if language == "en" else ""
    if len(sentences) > 1:
        first, rest = sentences[0], joint.join(sentences[1:])
    else:
        first, rest = text[: len(text) // 2], text[len(text) // 2 :]
    return ("Continue the text." if language == "en" else "续写这段文字。"), first, rest


TASKS: Mapping[str, Callable[[Material, Language, random.Random, float], Turns]] = {
    "quote": _quote,
    "extract": _extract,
    "triage": _triage,
    "label": _label,
    "copy": _copy,
    "translate": _translate,
    "continue": _continue,
}
