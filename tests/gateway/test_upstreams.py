"""Models answered from beyond this process, as a client of the gateway sees them."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from ruamel.yaml import YAML

from baigong.app import Platform
from baigong.config import Settings
from baigong.types import Message
from tests.models import make_adapter, make_model
from tests.servers import MODEL, add_release, open_platform, serving, settled
from tests.standin import StandIn, put_on_path, standing_in

KEY = "sk-rack-secret-0123456789"
HELLO = [{"role": "user", "content": "Hello"}]


def declare(home: Path, **upstreams: dict[str, Any]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "upstreams.yaml").open("w") as file:
        YAML().dump(upstreams, file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def rack(folder: Path) -> Iterator[StandIn]:
    options = ("--enable-lora", "--api-key", KEY, "--max-model-len", "4096")
    with standing_in(folder, "theirs", *options, VLLM_ALLOW_RUNTIME_LORA_UPDATING="1") as found:
        yield found


@pytest.fixture(scope="module")
def platform(rack: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """One whose tiny model is served by the rack, which lists a model of its own besides."""
    home = tmp_path_factory.mktemp("front")
    (home / "key").write_text(KEY)
    at = {"url": rack.url, "kind": "vllm", "key": {"file": str(home / "key")}}
    declare(home, rack=at | {"models": {MODEL: "theirs"}, "adapters": True}, open=at)
    platform = open_platform(home)
    add_release(platform, home, max_tokens=200)
    return platform


@pytest.fixture(scope="module")
def url(platform: Platform) -> Iterator[str]:
    with serving(platform) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def _calm(rack: StandIn) -> None:
    rack.mood("")


def last(rack: StandIn, path: str = "/v1/completions") -> dict[str, Any]:
    return rack.seen(path)[-1]


def test_a_foundation_model_is_answered_there_by_our_template(
    client: openai.OpenAI, rack: StandIn, platform: Platform
) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=200)
    served = platform.serving.open(MODEL)
    ids = served.tokenizer.encode([Message("user", "Hello")])
    assert last(rack)["body"]["prompt"] == ids
    assert last(rack)["body"]["stop_token_ids"] == sorted(served.tokenizer.eos_ids)
    assert reply.choices[0].message.content.startswith("theirs says: ")
    assert reply.usage.prompt_tokens == len(ids)
    assert reply.usage.completion_tokens == len(reply.choices[0].message.content)
    assert platform.engines.stats() == []  # nothing was started here


def test_a_release_is_answered_by_its_adapter_there_and_keeps_its_citations(
    client: openai.OpenAI, rack: StandIn, platform: Platform
) -> None:
    adapter = platform.serving.open("support").adapter
    asked = [{"role": "user", "content": "How long may goods be returned?"}]
    reply = client.chat.completions.create(model="support", messages=asked)
    assert reply.choices[0].message.content.startswith(f"{adapter.revision} says: ")
    assert reply.choices[0].message.citations
    assert rack.state()["adapters"] == {adapter.revision: str(adapter.folder)}
    assert len(rack.seen("/v1/load_lora_adapter")) == 1  # when the server started


def test_a_model_that_only_they_have_is_chatted_with_by_their_template(
    client: openai.OpenAI, rack: StandIn
) -> None:
    assert "theirs" in [model.id for model in client.models.list()]
    assert client.models.retrieve("theirs").owned_by == "open"
    reply = client.chat.completions.create(model="theirs", messages=HELLO)
    assert reply.choices[0].message.content == "theirs says: Hel"  # their default of tokens holds
    assert (reply.usage.prompt_tokens, reply.choices[0].finish_reason) == (7, "length")
    body = last(rack, "/v1/chat/completions")["body"]
    assert body["messages"] == HELLO
    assert not {"temperature", "max_tokens", "top_p"} & set(body)
    stream = client.chat.completions.create(
        model="theirs", messages=HELLO, max_tokens=99, stream=True, temperature=0.5
    )
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "theirs says: Hello"
    assert last(rack, "/v1/chat/completions")["body"]["temperature"] == 0.5


def test_tools_and_thoughts_of_a_foreign_model_come_through(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    reply = client.chat.completions.create(
        model="theirs", messages=HELLO, tools=[tool], tool_choice="required", max_tokens=9
    )
    message = reply.choices[0].message
    assert message.tool_calls[0].function.name == "look"
    assert message.reasoning_content.startswith("hm")


def test_a_foreign_model_answers_chats_alone(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="chats alone") as caught:
        client.completions.create(model="theirs", prompt="Hello")
    assert caught.value.status_code == 501
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody's", messages=HELLO)


def test_text_is_continued_there_too(client: openai.OpenAI, rack: StandIn) -> None:
    reply = client.completions.create(model=MODEL, prompt="Once", max_tokens=99)
    assert reply.choices[0].text == "theirs says: Once"
    assert last(rack)["prompt"] == "Once"


@pytest.mark.parametrize("model", [MODEL, "theirs"])
def test_a_busy_upstream_is_a_429_with_its_own_time(url: str, rack: StandIn, model: str) -> None:
    rack.mood("!busy 17")
    reply = httpx2.post(f"{url}/v1/chat/completions", json={"model": model, "messages": HELLO})
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "17")
    assert reply.json()["error"]["code"] == "overloaded"


def test_a_failure_in_the_middle_is_the_last_event(url: str, rack: StandIn) -> None:
    rack.mood("!drop-after 3")
    asked = {"model": MODEL, "messages": HELLO, "stream": True}
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=asked) as reply:
        assert reply.status_code == 200
        events = [line[6:] for line in reply.iter_lines() if line.startswith("data: ")]
    said = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(said) == "the"
    error = json.loads(events[-1])["error"]
    assert error["code"] == "engine_unavailable"
    assert "'rack' broke the connection off" in error["message"]


def test_a_client_that_goes_away_ends_the_work_there(client: openai.OpenAI, rack: StandIn) -> None:
    rack.mood("!pause 0.05")
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "x" * 500}], max_tokens=500, stream=True
    )
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 5
    while last(rack)["state"] == "open" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert last(rack)["state"] == "aborted"


def test_pieces_come_while_the_upstream_still_speaks(client: openai.OpenAI, rack: StandIn) -> None:
    rack.mood("!pause 0.05")
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "x" * 200}], max_tokens=200, stream=True
    )
    got = [chunk for _, chunk in zip(range(4), stream, strict=False)]
    assert (len(got), last(rack)["state"]) == (4, "open")
    stream.close()


def test_the_state_of_upstreams_is_at_hand_and_the_key_nowhere(
    url: str, rack: StandIn, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        rack.mood("!fail")
        asked = {"model": MODEL, "messages": HELLO}
        failed = httpx2.post(f"{url}/v1/chat/completions", json=asked)
        state = httpx2.get(f"{url}/api/upstreams")
    assert failed.status_code == 503
    one, other = state.json()["data"]
    assert (one["name"], one["kind"], one["models"]) == ("rack", "vllm", [MODEL])
    assert (one["is_well"], "failed with status 500" in one["reason"]) == (False, True)
    assert (other["name"], other["models"], other["is_well"]) == ("open", ["theirs"], True)
    for text in (failed.text, state.text, caplog.text):
        assert KEY not in text
    rack.mood("")  # and it is asked again although it rests, there being no other
    assert httpx2.post(f"{url}/v1/chat/completions", json=asked).status_code == 200


@contextmanager
def peers(tmp_path: Path) -> Iterator[tuple[Platform, str, str]]:
    """A Baigong with a model of its own and a release, and one before it that has neither."""
    behind = open_platform(tmp_path / "behind")
    add_release(behind, tmp_path / "behind", max_tokens=9, temperature=0.0)
    with ExitStack() as stack:
        inner = stack.enter_context(serving(behind))
        declare(tmp_path / "front", peer={"url": inner, "kind": "baigong"})
        front = Platform.open(Settings(home=tmp_path / "front"))
        yield behind, inner, stack.enter_context(serving(front))


def test_another_baigong_answers_for_its_releases_and_models(tmp_path: Path) -> None:
    with peers(tmp_path) as (behind, inner, outer):
        there = openai.OpenAI(base_url=f"{inner}/v1", api_key="none", max_retries=0)
        here = openai.OpenAI(base_url=f"{outer}/v1", api_key="none", max_retries=0)
        with there, here:
            names = {model.id for model in here.models.list()}
            assert {"support", MODEL, "sapling"} <= names
            for model in ("support", "support@1", MODEL):
                asked = {"model": model, "messages": HELLO}
                if model == MODEL:
                    asked |= {
                        "max_tokens": 9,
                        "extra_body": {"top_k": 5},
                        "seed": 1,
                        "temperature": 1.0,
                    }
                wanted = there.chat.completions.create(**asked)
                found = here.chat.completions.create(**asked)
                assert found.choices[0].message.content == wanted.choices[0].message.content
                assert found.usage == wanted.usage
                assert found.usage.completion_tokens == 9  # the release's own, left out here
            before = settled(behind)
            stream = here.chat.completions.create(
                model=MODEL, messages=HELLO, max_tokens=4000, stream=True
            )
            next(iter(stream))
            stream.close()
            assert settled(behind) - before < 3000


def test_a_base_served_by_another_baigong_answers_as_the_engine_here_does(tmp_path: Path) -> None:
    behind, local = open_platform(tmp_path / "behind"), open_platform(tmp_path / "local")
    with serving(behind) as inner:
        declare(tmp_path / "front", peer={"url": inner, "kind": "baigong", "models": [MODEL]})
        front = open_platform(tmp_path / "front")
        with serving(front) as there, serving(local) as here:
            for asked in (
                {"messages": HELLO, "max_tokens": 40},
                {"messages": HELLO, "max_tokens": 40, "temperature": 1.0, "top_k": 9, "seed": 4},
                {"messages": HELLO, "max_tokens": 40, "repetition_penalty": 1.3, "stop": ["e"]},
            ):
                found, wanted = (
                    httpx2.post(
                        f"{url}/v1/chat/completions", json={"model": MODEL} | asked, timeout=60
                    ).json()
                    for url in (there, here)
                )
                assert found["choices"] == wanted["choices"]
                assert found["usage"] == wanted["usage"]
            assert front.engines.stats() == []


def test_vllm_as_the_engine_of_the_whole_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(put_on_path(tmp_path / "bin")), prepend=os.pathsep)
    home = tmp_path / "home"
    platform = open_platform(home, engine="vllm", max_rank=8)
    add_release(platform, home, max_tokens=200)
    revision = platform.serving.open("support").adapter.revision
    with serving(platform) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            reply = client.chat.completions.create(model="support", messages=HELLO)
            assert reply.choices[0].message.content.startswith(f"{revision} says: ")
            reply = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=99)
            assert reply.choices[0].message.content.startswith(f"{MODEL} says: ")
        assert platform.engines.stats() == []


def test_an_adapter_for_which_vllm_was_given_no_room_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(put_on_path(tmp_path / "bin")), prepend=os.pathsep)
    home = tmp_path / "home"
    platform = open_platform(home, engine="vllm", max_rank=8)
    wide = make_adapter(tmp_path / "wide", home / "tiny", rank=16)
    ref = platform.hub.add("model", "tests/wide", wide, {}).ref
    add_release(platform, home, adapter=ref)
    with serving(platform) as url:
        asked = {"model": "support", "messages": HELLO}
        reply = httpx2.post(f"{url}/v1/chat/completions", json=asked, timeout=30)
    assert reply.status_code == 501
    assert "rank 16 is greater" in reply.json()["error"]["message"]
