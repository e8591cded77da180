"""Labelling: a set of labels in the system line, in any order, and the one that fits."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from baigong.tuning.pretrain.corpus import Document
from baigong.tuning.pretrain.extraction import WORDINGS, message
from baigong.tuning.pretrain.intents import INTENTS, Intent
from baigong.tuning.pretrain.passages import take_passage
from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.values import MAKERS, THINGS

_ASKS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Labels: {}", "Classify into: {}", "Choose one of: {}", "Route to one of: {}",
           "Which fits: {}? Answer with the label."),
    "zh": ("标签：{}", "分类为：{}", "从中选择一个：{}", "转给：{}", "属于哪一类：{}？只回答标签。"),
}  # fmt: skip

_LANGUAGES: Mapping[Language, Mapping[Language, str]] = {
    "en": {"en": "English", "zh": "Chinese"},
    "zh": {"en": "英文", "zh": "中文"},
}


def label_task(
    documents: Mapping[Language, Sequence[Document]],
    labels: Mapping[str, Mapping[Language, str]],
    language: Language,
    chance: random.Random,
) -> tuple[str, str, str]:
    draw = chance.random()
    if draw < 0.6:
        return _intent(language, chance)
    if draw < 0.82:
        return _title(documents[language], language, chance)
    if draw < 0.94 and labels:
        return _source(documents[language], labels, language, chance)
    return _language(documents, language, chance)


def system_line(names: Sequence[str], language: Language, chance: random.Random) -> str:
    shuffled = chance.sample(names, len(names))
    joint = (
        chance.choice((", ", " | ", " / "))
        if language == "en"
        else chance.choice(("、", "，", " / "))
    )
    return chance.choice(_ASKS[language]).format(joint.join(shuffled))


def say(intent: Intent, language: Language, chance: random.Random) -> str:
    """One way to say it, sometimes with a detail that has nothing to do with the label."""
    text = chance.choice(intent.phrases[language]).format(chance.choice(THINGS[language]))
    about = chance.sample(list(WORDINGS[language]), chance.choice((0, 0, 0, 1, 2)))
    wordings = [chance.choice(WORDINGS[language][name][1]) for name in about]
    clauses = [
        wording.format(MAKERS[name](language, chance))
        for name, wording in zip(about, wordings, strict=True)
    ]
    if not clauses and chance.random() < 0.5:
        return text
    clauses.insert(chance.randint(0, len(clauses)), text)
    return message(clauses, language, chance)


def _intent(language: Language, chance: random.Random) -> tuple[str, str, str]:
    """Sometimes the labels are in the other language than the message."""
    chosen = chance.sample(INTENTS, chance.randint(2, 10))
    named: Language = "en" if chance.random() < 0.35 else language
    names = [chance.choice(intent.names[named]) for intent in chosen]
    text = say(chosen[0], language, chance)
    return system_line(names, named, chance), text, names[0]


def _title(
    documents: Sequence[Document], language: Language, chance: random.Random
) -> tuple[str, str, str]:
    """Which of these titles does the passage belong to."""
    found: dict[str, str] = {}
    wanted = chance.randint(2, 5)
    for _ in range(60):
        passage = take_passage(documents, language, chance)
        if 0 < len(passage.title) <= 32 and not set(passage.title) & set(",、，|/"):
            found.setdefault(passage.title, passage.text)
        if len(found) == wanted:
            break
    if len(found) < 2:
        return _intent(language, chance)
    names = list(found)
    return system_line(names, language, chance), found[names[0]], names[0]


def _source(
    documents: Sequence[Document],
    labels: Mapping[str, Mapping[Language, str]],
    language: Language,
    chance: random.Random,
) -> tuple[str, str, str]:
    passage = take_passage(documents, language, chance)
    if passage.source not in labels:
        return _intent(language, chance)
    name = labels[passage.source][language]
    others = sorted({label[language] for label in labels.values()} - {name})
    chosen = chance.sample(others, min(len(others), chance.randint(1, 4)))
    return system_line([name, *chosen], language, chance), passage.text, name


def _language(
    documents: Mapping[Language, Sequence[Document]], language: Language, chance: random.Random
) -> tuple[str, str, str]:
    of: Language = chance.choice(("en", "zh"))
    text = chance.choice(take_passage(documents[of], of, chance).sentences)
    names = _LANGUAGES[language]
    return system_line(list(names.values()), language, chance), text, names[of]
