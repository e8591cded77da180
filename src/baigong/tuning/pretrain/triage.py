"""Triage: one message, one line of JSON with its label, its number and the thing it is about."""

from __future__ import annotations

import random
from collections.abc import Mapping

from baigong.tuning.pretrain.extraction import compact, message
from baigong.tuning.pretrain.intents import INTENTS
from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.values import THINGS, canonical_code

_KEYS: Mapping[Language, tuple[tuple[str, ...], ...]] = {
    "en": (("route", "intent", "category", "label"), ("order", "order_id", "ticket"), ("product", "item")),
    "zh": (("类别", "意图", "部门", "route"), ("订单号", "单号", "order"), ("商品", "产品", "product")),
}  # fmt: skip
_NUMBERS: Mapping[Language, tuple[str, ...]] = {
    "en": ("order {}", "{}", "ref {}", "my order {}", "for {}", "({})", "order no. {}", "it is {}"),
    "zh": ("订单{}", "{}", "单号{}", "我的订单号是{}", "（{}）", "订单号：{}", "编号{}"),
}
_ASKS: Mapping[Language, tuple[str, ...]] = {
    "en": ("JSON with {fields}. {route}: {labels}. {order} as {pattern}.",
           "Extract {fields}. {order} like {pattern}. {route} is one of {labels}.",
           "You sort messages. Answer with {fields}; {route}: {labels}; {order}: {pattern}."),
    "zh": ("输出JSON：{fields}。{route}：{labels}。{order}写成{pattern}。",
           "提取{fields}。{order}的格式为{pattern}。{route}从{labels}中选。",
           "你负责分派消息。用{fields}回答；{route}：{labels}；{order}：{pattern}。"),
}  # fmt: skip


def triage_task(language: Language, chance: random.Random) -> tuple[str, str, str]:
    """(system, user, assistant). The number is put into the one form that the system line shows,
    the thing gets its English name where the labels are English."""
    chosen = chance.sample(INTENTS, chance.randint(2, 8))
    named: Language = "en" if chance.random() < 0.5 else language
    labels = [chance.choice(intent.names[named]) for intent in chosen]
    phrase = chance.choice(chosen[0].phrases[language])
    thing = chance.randrange(len(THINGS["en"]))
    is_thing_told = "{}" in phrase
    clauses = [phrase.format(THINGS[language][thing])]
    said, filed = canonical_code(chance)
    is_number_told = chance.random() < 0.6
    if is_number_told:
        number = chance.choice(_NUMBERS[language]).format(said)
        clauses.insert(chance.randint(0, 1), number)
    keys = [chance.choice(names) for names in _KEYS[named]]
    values = [
        labels[0],
        filed if is_number_told else None,
        THINGS[named][thing] if is_thing_told else None,
    ]
    # The last digits of the pattern are zeros: its letters and its mark are what is to be copied.
    pattern = "".join("0" if character.isdigit() else character for character in filed)
    joint = ", " if named == "en" else "、"
    system = chance.choice(_ASKS[named]).format(
        fields=joint.join(keys),
        route=keys[0],
        order=keys[1],
        pattern=pattern,
        labels=joint.join(chance.sample(labels, len(labels))),
    )
    return system, message(clauses, language, chance), compact(dict(zip(keys, values, strict=True)))
