"""Token ids to text: no half characters, no stop strings, no surprises at the end."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE

from baigong.errors import ContextOverflow, InvalidInput
from baigong.inference.client import Token
from baigong.inference.engine.messages import Scores
from baigong.inference.text import StopStrings, TextStream, stream_text
from baigong.inference.tokens import TokenBytes
from baigong.model.chat import ChatTokenizer
from baigong.types import Delta, Sampling
from tests.models import END, make_tokenizer

pytestmark = pytest.mark.anyio

TEXT = "你好，世界！😀👩‍👩‍👧 naïve café — done."


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChatTokenizer:
    return ChatTokenizer(make_tokenizer(tmp_path / "t"))


class Script:
    """An engine that says fixed tokens, one byte each, so many at once, as Engine.bursts would."""

    def __init__(self, ids: Sequence[int], context: int = 1000, at_once: int = 1) -> None:
        self.at_once = at_once
        self.facts = SimpleNamespace(context=context)
        self.ids = list(ids)
        self.max_tokens = 0
        self.said = 0
        self.is_closed = False

    async def bursts(
        self, ids: Sequence[int], sampling: Sampling, **options: Any
    ) -> AsyncGenerator[list[Token], None]:
        self.max_tokens = sampling.max_tokens
        burst: list[Token] = []
        try:
            for id in self.ids[: sampling.max_tokens]:
                self.said += 1
                is_last = self.said == sampling.max_tokens
                reason = "stop" if id in options["stop_ids"] else "length" if is_last else None
                scores = None if sampling.logprobs is None else Scores(-1.0, [id], [-1.0])
                burst.append(Token(1, id, reason, scores))
                if reason or len(burst) == self.at_once:
                    yield burst
                    burst = []
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
        {"min_p": 1.5},
        {"presence_penalty": -2.5},
        {"frequency_penalty": float("nan")},
        {"repetition_penalty": 0.0},
        {"logit_bias": {1: 101.0}},
        {"logprobs": 21},
    ],
)
async def test_settings_out_of_range_are_named(
    tokenizer: ChatTokenizer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await say(Script([]), tokenizer, **wrong)
    assert caught.value.param in wrong


any_text = st.text(alphabet="aAb<世界é😀\u200d\n ", max_size=24)
some_stops = st.lists(st.text(alphabet="ab<世😀\n", min_size=1, max_size=3), max_size=3)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=any_text, stops=some_stops, at_once=st.integers(1, 9))
async def test_whatever_is_said_stops_before_the_first_stop_string_and_splits_no_character(
    tokenizer: ChatTokenizer, text: str, stops: list[str], at_once: int
) -> None:
    engine = Script([*tokenizer.encode_text(text), END], at_once=at_once)
    deltas = await say(engine, tokenizer, stop=tuple(stops), logprobs=1)
    # The stop string that is complete first ends the text, and of those the one that begins first.
    complete = [text.find(stop) + len(stop) for stop in stops if stop in text]
    heard = text[: min(complete)] if complete else text
    cut = min((heard.find(stop) for stop in stops if stop in heard), default=len(heard))
    assert "".join(delta.text for delta in deltas) == text[:cut]
    assert not any("\ufffd" in delta.text for delta in deltas)
    assert deltas[-1].finish_reason == "stop"
    scored = b"".join(one.bytes for delta in deltas for one in delta.scored)
    assert scored == text[:cut].encode()
    counted = sum(delta.tokens for delta in deltas)
    assert counted <= engine.said < counted + at_once  # nothing after the end is counted


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ids=st.lists(st.integers(0, 255), max_size=40))
async def test_tokens_and_text_agree_whatever_the_bytes(
    tokenizer: ChatTokenizer, ids: list[int]
) -> None:
    deltas = await say(Script([*ids, END]), tokenizer, logprobs=0)
    scored = b"".join(one.bytes for delta in deltas for one in delta.scored)
    assert len(scored) == len(ids)
    assert "".join(delta.text for delta in deltas) == scored.decode("utf-8", "replace")


async def test_logprobs_come_with_the_text_they_are_of(tokenizer: ChatTokenizer) -> None:
    deltas = await say(Script([*tokenizer.encode_text("é!"), END]), tokenizer, logprobs=1)
    assert [(d.text, [one.text for one in d.scored]) for d in deltas] == [
        ("é", ["bytes:\\xc3", "bytes:\\xa9"]),
        ("!", ["!"]),
        ("", []),
    ]
    assert deltas[1].scored[0].likeliest[0].text == "!"
    assert deltas[1].scored[0].logprob == -1.0


async def test_an_answer_that_ends_with_its_grammar_says_its_last_token(
    tokenizer: ChatTokenizer,
) -> None:
    class Complete(Script):
        async def bursts(self, *args: Any, **options: Any) -> AsyncGenerator[list[Token], None]:
            for id in self.ids[:-1]:
                yield [Token(1, id)]
            yield [Token(1, self.ids[-1], "stop")]  # no end token: there is nothing left to say

    deltas = await say(Complete(tokenizer.encode_text("[1]")), tokenizer)
    assert "".join(delta.text for delta in deltas) == "[1]"
    assert deltas[-1].finish_reason == "stop"


def test_bytes_of_tokens_by_byte_level_and_by_byte_fallback(tokenizer: ChatTokenizer) -> None:
    level = TokenBytes(tokenizer.tokenizer)
    ids = tokenizer.encode_text("é 好\n")
    assert b"".join(level(id) for id in ids) == "é 好\n".encode()
    assert level(END) == b""
    assert level.text(END, b"") == "<|im_end|>"

    words = {"<unk>": 0, "<0xE5>": 1, "\u2581a": 2, "好": 3}
    sentence = Tokenizer(BPE(words, [], unk_token="<unk>", byte_fallback=True))
    sentence.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ])
    sentence.add_tokens([AddedToken("<think>", special=False)])
    fallback = TokenBytes(sentence)
    assert [fallback(id) for id in (1, 2, 3, 4, 99)] == [
        b"\xe5",
        b" a",
        "好".encode(),
        b"<think>",
        b"",
    ]
