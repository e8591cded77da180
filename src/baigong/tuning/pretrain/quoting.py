"""Grounded quoting: numbered passages, a question, and the one sentence that answers it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from baigong.tuning.pretrain.corpus import Document
from baigong.tuning.pretrain.passages import (
    Passage,
    content_words,
    draw,
    overlap,
    passage_of,
    take_passage,
)
from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.values import company

# One fixed sentence a language, so that a caller can recognise it by equality.
NOT_THERE: dict[Language, str] = {"en": "Not in the documents.", "zh": "文档中没有。"}

SYSTEMS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Answer only from the documents. Quote one sentence and give its number.",
        "You answer from the numbered passages. Quote the sentence that answers. "
        "If none does, say: Not in the documents.",
        "Quote the passage that answers the question.",
        "You are a careful assistant. Use only the passages below.",
        "You are the service desk of {name}. Answer from the documents, with the number.",
        "You work for {name} and answer questions by quoting its handbook.",
    ),
    "zh": (
        "只根据文档回答，引用一句原文并给出编号。",
        "请从编号的段落中找出能回答问题的那句话，原样引用；如果没有，请说：文档中没有。",
        "引用能回答问题的段落。",
        "你是一名严谨的助手，只能使用下面的资料。",
        "你是{name}的客服，根据文档回答并给出编号。",
        "你在{name}工作，引用手册原文回答问题。",
    ),
}

_ASKING: dict[Language, tuple[str, ...]] = {
    "en": (
        "What about {words}?",
        "What does the text say about {words}?",
        "{words}?",
        "Tell me about {words}.",
        "Where is {words} mentioned?",
        "What do you know about {words}?",
        "How does {words} work?",
        "I have a question: {words}.",
    ),
    "zh": (
        "{words}是什么？",
        "关于{words}，文中怎么说？",
        "{words}？",
        "请介绍一下{words}。",
        "哪里提到了{words}？",
        "{words}怎么样？",
        "请问{words}的情况？",
        "我想了解{words}。",
    ),
}
_TRIES = 30
_MISSING_SHARE = 0.2


def render(passages: Sequence[str], question: str) -> str:
    """The one layout of documents in a prompt."""
    blocks = [f"[{number}] {text}" for number, text in enumerate(passages, 1)]
    return "\n\n".join(blocks) + "\n\n" + question


def quote_task(
    documents: Sequence[Document], language: Language, chance: random.Random, size: float = 1.0
) -> tuple[str, str, str]:
    """(system, user, assistant); the system line is empty half of the time."""
    system = chance.choice(SYSTEMS[language]) if chance.random() < 0.6 else ""
    system = system.replace("{name}", company(language, chance))
    is_missing = chance.random() < _MISSING_SHARE
    while True:
        passages = _passages(documents, language, chance, size)
        asked = take_passage(documents, language, chance, size) if is_missing else None
        target = asked or chance.choice(passages)
        sentence = chance.choice(target.sentences)
        question = ask(sentence, target, language, chance)
        if question and _is_only_answer(question, sentence, passages, language, is_missing):
            break
    texts = [passage.text for passage in passages]
    answer = NOT_THERE[language]
    if not is_missing:
        answer = f"[{passages.index(target) + 1}] {sentence}"
    return system, render(texts, question), answer


def _passages(
    documents: Sequence[Document], language: Language, chance: random.Random, size: float
) -> list[Passage]:
    """Half of the distractors come from the same source, so that topic alone does not tell."""
    count = chance.choice((1, 2, 3, 3, 3, 3, 4, 5))
    passages = [take_passage(documents, language, chance, size)]
    for _ in range(_TRIES):
        if len(passages) == count:
            break
        document = draw(documents, chance)
        if document.source != passages[0].source and chance.random() < 0.5:
            continue
        other = passage_of(document, language, chance, size)
        if other is not None and other.text not in {passage.text for passage in passages}:
            passages.append(other)
    chance.shuffle(passages)
    return passages


def ask(sentence: str, passage: Passage, language: Language, chance: random.Random) -> str:
    """A few content words, the sentence with words dropped, its opening, or title and words."""
    words = content_words(sentence, language)
    if len(words) < 2:
        return ""
    style = chance.random()
    joined = " " if language == "en" or chance.random() < 0.5 else ""
    if style < 0.2:
        return _dropped(sentence, language, chance)
    if style < 0.45:
        asked = _ask_for_the_number(sentence, language, chance)
        if asked:
            return asked
    if style < 0.52 and passage.title:
        picked = chance.sample(words, min(len(words), 2))
        return " ".join([passage.title[:40], *picked])
    count = min(len(words), chance.choice((1, 2, 2, 3, 4)))
    start = chance.randrange(len(words) - count + 1)
    picked = words[start : start + count]
    if chance.random() < 0.3:
        picked = chance.sample(words, count)
    if style < 0.6:
        return " ".join(picked)
    return chance.choice(_ASKING[language]).format(words=joined.join(picked))


def _dropped(sentence: str, language: Language, chance: random.Random) -> str:
    keep = chance.uniform(0.45, 0.85)
    if language == "en":
        words = [word for word in sentence.rstrip(".!?").split() if chance.random() < keep]
        return " ".join(words) + chance.choice(("", "?"))
    parts = [part for part in content_words(sentence, language) if chance.random() < keep]
    return "".join(parts) + chance.choice(("", "？"))


_FIGURE: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"(?:in |on |at |by |from )?[$€£¥]?\d[\d,.:]*\d?%?"),
    "zh": re.compile(r"[￥¥]?\d[\d,.:]*\d?%?"),
}
_ASKED_FOR: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (("in ", "when"), ("on ", "on which day"), ("at ", "at what time"), ("by ", "by when"),
           ("from ", "from when"), ("$", "how much"), ("", "how many")),
    "zh": (("￥", "多少钱"), ("¥", "多少钱"), ("", "多少")),
}  # fmt: skip


def _ask_for_the_number(sentence: str, language: Language, chance: random.Random) -> str:
    """The sentence with its figure asked for and some other words dropped: a near paraphrase."""
    figures = list(_FIGURE[language].finditer(sentence))
    if not figures:
        return ""
    figure = chance.choice(figures)
    asked = next(ask for start, ask in _ASKED_FOR[language] if figure[0].startswith(start))
    keep = chance.uniform(0.5, 0.9)
    if language == "zh":
        after = sentence[figure.end() :]
        unit = after[:1] if after[:1] in "年月日天元个小分次台人岁家点" else ""
        before = _dropped(sentence[: figure.start()], language, chance).rstrip("？")
        return f"{before}{asked}{unit}？" if before else ""
    rest = sentence[: figure.start()] + " " + sentence[figure.end() :]
    words = [word for word in rest.rstrip(".!?").split() if chance.random() < keep]
    return f"{asked[0].upper()}{asked[1:]} {' '.join(words[:16])}?" if words else ""


def _is_only_answer(
    question: str,
    sentence: str,
    passages: Sequence[Passage],
    language: Language,
    is_missing: bool,
) -> bool:
    """No other sentence may fit as well; and where nothing should fit, nothing may."""
    words = content_words(question, language)
    if not words:
        return False
    best = max(
        (
            overlap(words, other)
            for passage in passages
            for other in passage.sentences
            if other != sentence
        ),
        default=0,
    )
    if is_missing:
        return best <= len(words) // 3 and all(sentence not in item.text for item in passages)
    return overlap(words, sentence) > best
