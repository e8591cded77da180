"""One upstream, a real process: its answers, its failures by name, its adapters."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from baigong.errors import (
    BaigongError,
    ContextOverflow,
    EngineUnavailable,
    InvalidInput,
    Overloaded,
    Unsupported,
)
from baigong.inference.upstream.server import (
    MOST_ADAPTERS,
    Adapter,
    Conversation,
    Prompt,
    Upstream,
)
from baigong.inference.upstream.settings import UpstreamSettings
from baigong.inference.upstream.wire import Events
from baigong.model.chat import tokenizer_of
from baigong.types import Delta, Message, Sampling, Tool, ToolCall, ToolUse
from tests.models import make_adapter, make_model
from tests.standin import StandIn, standing_in

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-0123456789"
SWIFT = {"connect": 0.5, "first_token": 0.5, "between_tokens": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def standin(folder: Path) -> Iterator[StandIn]:
    options = ("--enable-lora", "--api-key", KEY)
    with standing_in(folder, "m", *options, VLLM_ALLOW_RUNTIME_LORA_UPDATING="1") as found:
        yield found


@asynccontextmanager
async def upstream(url: str, key: str = KEY, **fields: Any) -> AsyncIterator[Upstream]:
    settings = UpstreamSettings(**{"url": url, "kind": "vllm"} | fields)
    found = Upstream("rack", settings, key=lambda: key)
    try:
        yield found
    finally:
        await found.close()


def ids(text: str, folder: Path) -> Prompt:
    tokenizer = tokenizer_of(folder)
    return Prompt(tokenizer.encode_text(text), tokenizer)


async def ask(up: Upstream, prompt: Prompt, **sampling: Any) -> list[Delta]:
    stream = up.complete("m", prompt, Sampling(**{"max_tokens": 100} | sampling))
    return [delta async for delta in stream]


async def test_our_ids_go_there_and_text_comes_back_piece_by_piece(
    standin: StandIn, folder: Path
) -> None:
    async with upstream(standin.url) as up:
        deltas = await ask(up, ids("Grüße 你好", folder), top_k=3)
    assert "".join(delta.text for delta in deltas) == "m says: Grüße 你好"
    assert [delta.tokens for delta in deltas] == [1] * 16 + [0]
    assert [delta.finish_reason for delta in deltas[-2:]] == [None, "stop"]
    assert deltas[-1].prompt_tokens == 7
    body = standin.seen()[-1]["body"]
    assert body["prompt"] == list(ids("Grüße 你好", folder).ids)
    assert (body["top_k"], body["min_p"], body["skip_special_tokens"]) == (3, 0.0, True)


async def test_a_limit_of_tokens_ends_the_answer_as_length(standin: StandIn, folder: Path) -> None:
    async with upstream(standin.url) as up:
        deltas = await ask(up, ids("Hello", folder), max_tokens=3)
    assert ("".join(d.text for d in deltas), deltas[-1].finish_reason) == ("m s", "length")


@pytest.mark.parametrize(
    ("mood", "kind", "words"),
    [
        ("!drop", EngineUnavailable, "'rack' broke the connection off"),
        ("!late 2", EngineUnavailable, "'rack' said nothing within 0.5 s"),
        ("!pause 2", EngineUnavailable, "'rack' fell silent for 0.5 s"),
        ("!drop-after 3", EngineUnavailable, "'rack' broke the connection off"),
        ("!error-after 3", EngineUnavailable, "'rack' failed with status 500"),
        ("!end-after 3", EngineUnavailable, "'rack' stopped in the middle of the answer"),
        ("!fail", EngineUnavailable, "'rack' failed with status 500"),
        ("!later 9", Overloaded, "'rack' has too much to do"),
        ("!later", EngineUnavailable, "'rack' failed with status 503"),
        ("!redirect", EngineUnavailable, "'rack' sends us elsewhere"),
        ("!busy 7", Overloaded, "'rack' has too much to do"),
        ("!refuse", InvalidInput, "'rack' says: temperature is silly"),
        ("!long", ContextOverflow, "'rack' says: This model's maximum context"),
    ],
)
async def test_every_failure_has_the_name_of_the_upstream(
    standin: StandIn, folder: Path, mood: str, kind: type[BaigongError], words: str
) -> None:
    async with upstream(standin.url, timeouts=SWIFT) as up:
        with pytest.raises(kind, match=words) as caught:
            await ask(up, ids(mood, folder))
        assert type(caught.value) is kind
        assert up.health.is_well is (kind is not EngineUnavailable)
    assert standin.url.removeprefix("http://") not in str(caught.value)


async def test_what_came_before_a_failure_was_given_on(standin: StandIn, folder: Path) -> None:
    got: list[str] = []

    async def listen(up: Upstream) -> None:
        async for delta in up.complete("m", ids("!drop-after 3", folder), Sampling()):
            got.append(delta.text)

    async with upstream(standin.url) as up:
        with pytest.raises(EngineUnavailable):
            await listen(up)
    assert got == ["m", " ", "s"]


@pytest.mark.parametrize("mood", ["!busy 7", "!later 7"])
async def test_what_asks_to_come_back_later_says_when(
    standin: StandIn, folder: Path, mood: str
) -> None:
    async with upstream(standin.url) as up:
        with pytest.raises(Overloaded) as caught:
            await ask(up, ids(mood, folder))
    assert (caught.value.retry_after, caught.value.status) == (7, 429)


async def test_nobody_there_is_said_plainly(folder: Path) -> None:
    async with upstream("http://127.0.0.1:9") as up:
        with pytest.raises(EngineUnavailable, match="The upstream 'rack' cannot be reached"):
            await ask(up, ids("Hello", folder))


async def test_no_answer_to_connecting_is_a_timeout_of_its_own(folder: Path) -> None:
    # A listener whose queue is full answers nobody.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with upstream(url, timeouts=SWIFT | {"first_token": 5.0}) as up:
            with pytest.raises(EngineUnavailable, match="not be connected to within"):
                await ask(up, ids("Hello", folder))


@pytest.mark.parametrize("likeliest", [0, 1, 2])
async def test_scores_come_with_the_text_they_belong_to(
    standin: StandIn, folder: Path, likeliest: int
) -> None:
    async with upstream(standin.url) as up:
        deltas = await ask(up, ids("你", folder), logprobs=likeliest)
    for delta in deltas:
        assert b"".join(one.bytes for one in delta.scored).decode() == delta.text
    scored = [one for delta in deltas for one in delta.scored]
    assert [one.logprob for one in scored] == [-1.5] * (len("m says: ") + 3)
    told = {tuple(other.logprob for other in one.likeliest) for one in scored}
    assert told == {((), (-0.5,), (-0.5, -1.5))[likeliest]}


async def test_no_tokens_are_asked_for_where_none_are_wanted(
    standin: StandIn, folder: Path
) -> None:
    before = len(standin.seen())
    async with upstream(standin.url) as up:
        deltas = await ask(up, ids("Hello", folder), max_tokens=0, scores_prompt=True)
    assert deltas == [Delta(finish_reason="length")]
    assert len(standin.seen()) == before


async def test_a_reader_that_goes_away_hangs_up(standin: StandIn, folder: Path) -> None:
    async with upstream(standin.url) as up:
        stream = up.complete("m", ids("!pause 0.05 " + "x" * 200, folder), Sampling(max_tokens=200))
        async with aclosing(stream):
            await anext(stream)
        async with asyncio.timeout(5):
            while standin.seen()[-1]["state"] == "open":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert standin.seen()[-1]["state"] == "aborted"


async def test_a_wrong_key_is_told_without_the_key(
    standin: StandIn, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "sk-wrong-but-secret"
    with caplog.at_level(logging.DEBUG):
        async with upstream(standin.url, wrong) as up:
            with pytest.raises(EngineUnavailable, match="'rack' refuses our key") as caught:
                await ask(up, ids("Hello", folder))
            await up.probe()
            assert "refuses our key" in up.health.reason
    assert "Incorrect key: Bearer ***" in caplog.text  # the server's own words, for the operator
    assert wrong not in caplog.text + str(caught.value) + up.health.reason


async def test_a_key_that_is_missing_is_named_by_its_place(
    standin: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RACK_KEY", raising=False)
    settings = UpstreamSettings(url=standin.url, kind="vllm", key={"env": "RACK_KEY"})  # type: ignore[arg-type]
    up = Upstream("rack", settings)
    with pytest.raises(EngineUnavailable, match="RACK_KEY holds no key"):
        await ask(up, ids("Hello", folder))


async def test_a_prompt_longer_than_the_context_is_refused_here(
    standin: StandIn, folder: Path
) -> None:
    async with upstream(standin.url) as up:
        await up.probe()
        assert up.models == {"m": 512}
        before = len(standin.seen())
        with pytest.raises(ContextOverflow, match="at least 89 tokens"):
            await ask(up, Prompt([1] * 600, tokenizer_of(folder)))
        assert len(standin.seen()) == before
        await ask(up, Prompt([65] * 500, tokenizer_of(folder)), max_tokens=100)
        assert standin.seen()[-1]["body"]["max_tokens"] == 12


async def test_an_adapter_is_loaded_once_and_answers_by_its_name(
    standin: StandIn, folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("a1", make_adapter(tmp_path / "a", folder))
    async with upstream(standin.url, adapters=True) as up:
        for _ in range(2):
            stream = up.complete("m", ids("Hello", folder), Sampling(max_tokens=9), adapter)
            assert "".join([d.text async for d in stream]) == "a1 says: "
        assert len(standin.seen("/v1/load_lora_adapter")) == 1
        assert standin.state()["adapters"] == {"a1": str(adapter.folder)}
        async with upstream(standin.url, adapters=True) as another:
            await another.add_adapter(adapter)  # "has already been loaded" is what was wanted
            assert another.adapters == ("a1",)
        await up.remove_adapter("a1")
        assert (up.adapters, standin.state()["adapters"]) == ((), {})


async def test_an_adapter_that_the_server_has_lost_is_loaded_again(
    standin: StandIn, folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("a2", make_adapter(tmp_path / "a", folder))
    async with upstream(standin.url, adapters=True) as up, upstream(standin.url) as other:
        await up.add_adapter(adapter)
        await other.remove_adapter("a2")  # as a restart would
        stream = up.complete("m", ids("Hello", folder), Sampling(max_tokens=9), adapter)
        assert "".join([d.text async for d in stream]) == "a2 says: "
        assert up.health.is_well


async def test_the_adapter_asked_for_longest_ago_makes_room(
    standin: StandIn, folder: Path, tmp_path: Path
) -> None:
    where = make_adapter(tmp_path / "a", folder)
    names = [f"many{i}" for i in range(MOST_ADAPTERS)]
    async with upstream(standin.url, adapters=True) as up:
        for name in (*names, "many0", "last"):
            await up.add_adapter(Adapter(name, where))
        wanted = {*names, "last"} - {"many1"}
        assert set(up.adapters) == wanted
        assert wanted <= set(standin.state()["adapters"])
        assert "many1" not in standin.state()["adapters"]


@pytest.mark.parametrize("rank", [4, 32])
async def test_an_adapter_that_cannot_be_loaded_says_why(
    standin: StandIn, folder: Path, tmp_path: Path, rank: int
) -> None:
    where = tmp_path if rank == 4 else make_adapter(tmp_path / "a", folder, rank=rank)
    words = "does not see their folder" if rank == 4 else "rank 32 is greater than max_lora_rank"
    async with upstream(standin.url, adapters=True) as up:
        with pytest.raises(Unsupported) as caught:
            await up.add_adapter(Adapter("bad", where))
    assert words in str(caught.value)


async def test_a_server_without_the_endpoint_is_told_what_it_needs(
    folder: Path, tmp_path: Path
) -> None:
    with standing_in(folder) as plain:
        async with upstream(plain.url, adapters=True) as up:
            with pytest.raises(Unsupported, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
                await up.add_adapter(Adapter("a", make_adapter(tmp_path / "a", folder)))


async def test_llamacpp_cannot_load_adapters(folder: Path) -> None:
    async with upstream("http://127.0.0.1:9", kind="llamacpp") as up:
        with pytest.raises(Unsupported, match=r"'rack' \(llamacpp\) loads no adapters"):
            await up.add_adapter(Adapter("a", folder))


async def test_a_conversation_is_passed_on_in_openais_words(standin: StandIn) -> None:
    turns = (
        Message("user", "Weather?"),
        Message("assistant", "", (ToolCall("c", "look", "{}"),)),
        Message("tool", "Sun, and more", tool_call_id="c", name="look"),
    )
    use = ToolUse((Tool("look", "Looks."),), forced=("look",), is_parallel=False)
    async with upstream(standin.url) as up:
        conversation = Conversation(turns, use, {"reasoning_effort": "low"})
        stream = up.chat("m", conversation, Sampling(max_tokens=100))
        deltas = [delta async for delta in stream]
    assert [call.name for delta in deltas for call in delta.calls][:1] == ["look"]
    assert deltas[0].reasoning == "hm"
    body = standin.seen("/v1/chat/completions")[-1]["body"]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "tool"]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == "look"
    assert body["messages"][2]["tool_call_id"] == "c"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert (body["parallel_tool_calls"], body["reasoning_effort"]) == (False, "low")


def test_events_come_whole_however_the_bytes_are_cut() -> None:
    wire = ': ping\r\nevent: x\ndata: {"a": "你"}\r\n\r\ndata:b\n\ndata: [DONE]\n\n'.encode()
    for size in (1, 2, 3, 7, len(wire)):
        events = Events()
        pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
        found = [event for piece in pieces for event in events.feed(piece)]
        assert found == ['{"a": "你"}'.encode(), b"b", b"[DONE]"]
