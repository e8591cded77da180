"""Token ids to text: no half characters, no stop strings, no surprises at the end."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baigong.errors import ContextOverflow, InvalidInput
from baigong.hub.chat import ChatTokenizer
from baigong.inference.client import Token
from baigong.inference.text import StopStrings, TextStream, stream_text
from baigong.types import Delta, Sampling
from tests.models import END, make_tokenizer

pytestmark = pytest.mark.anyio

TEXT = "你好，世界！😀👩‍👩‍👧 naïve café — done."


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChatTokenizer:
    return ChatTokenizer(make_tokenizer(tmp_path / "t"))


class Script:
    """An engine that says fixed tokens, one byte each, as Engine.generate would."""

    def __init__(self, ids: Sequence[int], context: int = 1000) -> None:
        self.facts = SimpleNamespace(context=context)
        self.ids = list(ids)
        self.max_tokens = 0
        self.said = 0
        self.is_closed = False

    async def generate(
        self, ids: Sequence[int], sampling: Sampling, **options: Any
    ) -> AsyncGenerator[Token, None]:
        self.max_tokens = sampling.max_tokens
        try:
            for id in self.ids[: sampling.max_tokens]:
                self.said += 1
                is_last = self.said == sampling.max_tokens
                reason = "stop" if id in options["stop_ids"] else "length" if is_last else None
                yield Token(1, id, reason)
        finally:
            self.is_closed = True


async def say(
    engine: Script, tokenizer: ChatTokenizer, prompt: int = 1, **options: Any
) -> list[Delta]:
    sampling = Sampling(**{"max_tokens": 500} | options)
    stream = stream_text(engine, tokenizer, [1] * prompt, sampling)  # type: ignore[arg-type]
    return [delta async for delta in stream]


async def test_characters_are_never_split(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode_text(TEXT)
    assert len(ids) > len(TEXT)
    deltas = await say(Script([*ids, END]), tokenizer)
    assert "".join(delta.text for delta in deltas) == TEXT
    assert not any("\ufffd" in delta.text for delta in deltas)
    assert len(deltas) > len(TEXT) * 0.8  # and yet it streams
    assert deltas[-1].finish_reason == "stop"
    assert sum(delta.tokens for delta in deltas) == len(ids) + 1


async def test_a_character_cut_by_the_limit_shows_in_the_end(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode_text("好好")
    deltas = await say(Script(ids), tokenizer, max_tokens=5)
    assert [delta.text for delta in deltas] == ["好", "\ufffd"]
    assert deltas[-1].finish_reason == "length"


def test_pieces_join_to_the_whole_whatever_the_bytes(tokenizer: ChatTokenizer) -> None:
    numbers = random.Random(3)
    for _ in range(50):
        ids = [numbers.randrange(259) for _ in range(60)]
        stream = TextStream(tokenizer)
        pieces = [stream.push(id) for id in ids] + [stream.finish()]
        assert "".join(pieces) == tokenizer.decode(ids)


@pytest.mark.parametrize("stop", ["世界", "！😀", "naïve café", "."])
async def test_stop_strings_end_the_text_before_them(tokenizer: ChatTokenizer, stop: str) -> None:
    engine = Script([*tokenizer.encode_text(TEXT), END])
    deltas = await say(engine, tokenizer, stop=("zzz", stop))
    assert "".join(delta.text for delta in deltas) == TEXT[: TEXT.index(stop)]
    assert deltas[-1].finish_reason == "stop"
    assert engine.said <= len(TEXT[: TEXT.index(stop) + len(stop)].encode())
    assert engine.is_closed


async def test_what_only_begins_like_a_stop_string_is_said(tokenizer: ChatTokenizer) -> None:
    deltas = await say(Script([*tokenizer.encode_text("abcabx ab"), END]), tokenizer, stop=("abd",))
    assert "".join(delta.text for delta in deltas) == "abcabx ab"


def test_stop_strings_hold_back_no_more_than_they_must() -> None:
    stops = StopStrings(["<end>", "\n\n"])
    assert [stops.push(text) for text in ("a\n", "b<e", "x<", "end", ">c")] == [
        ("a", False),
        ("\nb", False),
        ("<ex", False),
        ("", False),
        ("", True),
    ]


async def test_answer_is_clipped_to_the_context(tokenizer: ChatTokenizer) -> None:
    engine = Script([65] * 50, context=20)
    deltas = await say(engine, tokenizer, prompt=15)
    assert engine.max_tokens == 5
    assert deltas[-1].finish_reason == "length"


async def test_prompt_longer_than_the_context_names_both_numbers(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(ContextOverflow, match=r"21 tokens.*20 tokens.*by at least 2"):
        await say(Script([], context=20), tokenizer, prompt=21)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"seed": 2**63},
        {"stop": ("",)},
    ],
)
async def test_settings_out_of_range_are_named(
    tokenizer: ChatTokenizer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await say(Script([]), tokenizer, **wrong)
    assert caught.value.param in wrong
