"""Conversations to tune on, made up: lengths as in a service desk's records, the same every time."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from pathlib import Path

from baigong.types import Message, Row, Split

_ASKED = (
    "My {thing} has not arrived although the order says that it was sent {days} days ago.",
    "How do I change the address on order {number}? I moved last week.",
    "我在{days}天前申请了退款，订单号{number}，到现在还没有到账，请帮我查一下。",
    "The {thing} that I received is broken; I would like another one or my money back.",
    "{thing}的保修期是多久？发票丢了还能保修吗？",
)
_ANSWERED = (
    "I am sorry for the wait.",
    "Order {number} is at the carrier; it should reach you within {days} days.",
    "You find the form under Orders, then Returns; the money is back within {days} working days.",
    "很抱歉给您带来不便，订单{number}的退款将在{days}个工作日内到账。",
    "Please keep the box: the courier collects the {thing} at your door.",
    "如需进一步帮助，请回复这条消息，我们会在当天处理。",
)
_THINGS = ("kettle", "monitor", "keyboard", "电饭煲", "耳机", "desk lamp", "router")


def rows(count: int, *, sentences: float = 3.0, seed: int = 0) -> list[Row]:
    """`count` rows to train on; answers of about `sentences` sentences, some of many more."""
    dice = random.Random(seed)
    return [_row(dice, sentences, "train") for _ in range(count)]


def _row(dice: random.Random, sentences: float, split: Split) -> Row:
    facts = {
        "thing": dice.choice(_THINGS),
        "days": dice.randint(2, 21),
        "number": dice.randint(10**7, 10**8),
    }
    asked = dice.choice(_ASKED).format(**facts)
    long = max(1, round(dice.lognormvariate(0, 0.7) * sentences))
    answer = " ".join(dice.choice(_ANSWERED).format(**facts) for _ in range(long))
    identity = sha256(f"{asked}\0{answer}\0{dice.random()}".encode()).hexdigest()[:32]
    return Row(identity, (Message("user", asked),), answer, split)


def write_chat(folder: Path, listed: list[Row]) -> Path:
    """The rows in OpenAI's chat format, as every trainer reads them."""
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for row in listed:
            turns = [{"role": m.role, "content": m.content} for m in row.messages]
            turns.append({"role": "assistant", "content": row.answer})
            stream.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    return path
