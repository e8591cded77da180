"""Drills: copying, picking and looking up, the moves that quoting and extracting are made of."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from baigong.tuning.pretrain.corpus import Document
from baigong.tuning.pretrain.passages import draw, take_passage
from baigong.tuning.pretrain.quoting import render
from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.values import MAKERS

_REPEAT: Mapping[Language, tuple[str, ...]] = {
    "en": ("Repeat exactly:", "Copy this text:", "Say this again, word for word:"),
    "zh": ("原样重复：", "请复制这段文字：", "一字不差地再说一遍："),
}
_PICK: Mapping[Language, tuple[str, ...]] = {
    "en": ("Repeat number {}.", "[{}]", "Give me passage {}.", "Copy [{}]."),
    "zh": ("重复第{}段。", "[{}]", "给我第{}段。", "复制[{}]。"),
}
_FIND: Mapping[Language, tuple[str, ...]] = {
    "en": ("Which passage says: {}", "{}", "Find: {}"),
    "zh": ("哪一段说：{}", "{}", "查找：{}"),
}
_LOOK_UP: Mapping[Language, tuple[str, ...]] = {
    "en": ("Answer with the value.", "Look it up.", "What stands there?"),
    "zh": ("回答对应的内容。", "查一下。", "对应的是什么？"),
}
_CODE_MARKS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"

Turns = tuple[str, str, str]


def drill(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    moves = (_codes, _sentence, _shuffled, _pick, _find, _look_up)
    return chance.choices(moves, (2, 2, 2, 1, 1, 2))[0](documents, language, chance)


def _codes(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    words = ["".join(chance.choices(_CODE_MARKS, k=chance.randint(2, 8))) for _ in range(6)]
    text = chance.choice((" ", "-", ", ", "/")).join(words[: chance.randint(1, 6)])
    return chance.choice(_REPEAT[language]), text, text


def _sentence(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    text = chance.choice(take_passage(documents, language, chance).sentences)
    return chance.choice(_REPEAT[language]), text, text


def _shuffled(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    """Words in no order cannot be guessed, only copied."""
    pieces: list[str] = []
    for _ in range(chance.randint(1, 3)):
        text = draw(documents, chance).text
        start = chance.randrange(max(1, len(text) - 200))
        part = text[start : start + 200].replace("\n", " ")
        pieces += part.split() if language == "en" else list(part[:40].replace(" ", ""))
    chance.shuffle(pieces)
    text = (" " if language == "en" else "").join(pieces[: chance.randint(4, 60)]).strip()
    return chance.choice(_REPEAT[language]), text or "-", text or "-"


def _passages(
    documents: Sequence[Document], language: Language, chance: random.Random
) -> list[str]:
    count = chance.randint(2, 5)
    found = [take_passage(documents, language, chance, 0.5) for _ in range(count)]
    return [chance.choice(passage.sentences) for passage in found]


def _pick(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    texts = _passages(documents, language, chance)
    number = chance.randint(1, len(texts))
    question = chance.choice(_PICK[language]).format(number)
    return "", render(texts, question), f"[{number}] {texts[number - 1]}"


def _find(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    """The question is the beginning of the sentence, or all of it."""
    texts = _passages(documents, language, chance)
    text = chance.choice(texts)
    asked = text[: max(8, int(len(text) * chance.uniform(0.3, 1.0)))]
    question = chance.choice(_FIND[language]).replace("{}", asked)
    return "", render(texts, question), f"[{texts.index(text) + 1}] {text}"


def _look_up(documents: Sequence[Document], language: Language, chance: random.Random) -> Turns:
    rows: dict[str, str] = {}
    makers = list(MAKERS.values())
    for _ in range(chance.randint(2, 8)):
        rows[chance.choice(makers)(language, chance)] = chance.choice(makers)(language, chance)
    mark = (
        chance.choice((": ", " = ", " -> "))
        if language == "en"
        else chance.choice(("：", "=", " "))
    )
    joint = (
        chance.choice(("\n", "; ", ", ")) if language == "en" else chance.choice(("\n", "；", "，"))
    )
    key = chance.choice(list(rows))
    listed = joint.join(f"{name}{mark}{value}" for name, value in rows.items())
    return chance.choice(_LOOK_UP[language]), f"{listed}\n\n{key}", rows[key]
