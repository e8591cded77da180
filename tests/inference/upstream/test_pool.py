"""Several upstreams for one model: the draw, the fallback, the watch."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from baigong.errors import BaigongError, EngineUnavailable, InvalidInput, Overloaded, Unsupported
from baigong.inference.upstream.pool import Route, Upstreams
from baigong.inference.upstream.server import Adapter, Prompt
from baigong.inference.upstream.settings import UpstreamSettings
from baigong.model.chat import tokenizer_of
from baigong.types import Delta, Sampling
from tests.models import make_adapter, make_model
from tests.standin import StandIn, standing_in

pytestmark = pytest.mark.anyio

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[tuple[StandIn, StandIn]]:
    loading = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    with (
        standing_in(folder, "first", "--enable-lora", **loading) as first,
        standing_in(folder, "second", "--enable-lora", **loading) as second,
    ):
        yield first, second


@pytest.fixture(autouse=True)
def _calm(pair: tuple[StandIn, StandIn]) -> None:
    for one in pair:
        one.mood("")


@asynccontextmanager
async def pool(seed: int = 0, **upstreams: dict[str, Any]) -> AsyncIterator[Upstreams]:
    settings = {name: UpstreamSettings(**{"kind": "vllm"} | one) for name, one in upstreams.items()}
    found = Upstreams(settings, random=random.Random(seed))
    try:
        yield found
    finally:
        await found.close()


def both(pair: tuple[StandIn, StandIn], **fields: Any) -> dict[str, dict[str, Any]]:
    """Two upstreams for "m", the first of which is drawn all but always."""
    return {
        "a": {"url": pair[0].url, "models": {"m": "first"}, "weight": 1e9, **fields},
        "b": {"url": pair[1].url, "models": {"m": "second"}, "weight": 1, **fields},
    }


def route(found: Upstreams, folder: Path) -> Route:
    route = found.of_base("m", folder, has_adapter=False)
    assert isinstance(route, Route)
    return route


def prompt_of(folder: Path) -> Prompt:
    tokenizer = tokenizer_of(folder)
    return Prompt(tokenizer.encode_text("Hello"), tokenizer)


async def ask(
    route: Route,
    folder: Path,
    text: str = "Hello",
    adapter: Adapter | None = None,
    into: list[Delta] | None = None,
) -> list[Delta]:
    tokenizer = tokenizer_of(folder)
    prompt = Prompt(tokenizer.encode_text(text), tokenizer)
    got = [] if into is None else into
    async for delta in route.complete(prompt, Sampling(max_tokens=99), adapter):
        got.append(delta)
    return got


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


async def test_the_draw_follows_the_weights(folder: Path) -> None:
    shares = {"a": 1.0, "b": 3.0, "c": 6.0}
    named = {n: {"url": NOBODY, "models": ["m"], "weight": w} for n, w in shares.items()}
    async with pool(seed=1, **named) as found:
        orders = [route(found, folder).order() for _ in range(4000)]
    first = Counter(order[0][0].name for order in orders)
    for name, weight in shares.items():
        assert first[name] / 4000 == pytest.approx(weight / 10, abs=0.025)
    # And so does the draw among the rest: b against c where a came first.
    rest = Counter(order[1][0].name for order in orders if order[0][0].name == "a")
    assert rest["b"] / rest.total() == pytest.approx(3 / 9, abs=0.07)


@pytest.mark.parametrize("mood", ["!drop", "!fail", "!later 9", "!redirect", "!busy 9", "!late 3"])
async def test_before_the_first_token_the_next_one_answers(
    pair: tuple[StandIn, StandIn], folder: Path, mood: str
) -> None:
    pair[0].mood(mood)
    async with pool(**both(pair, timeouts={"first_token": 1})) as found:
        assert text(await ask(route(found, folder), folder)) == "second says: Hello"
        assert [one.is_well for one in found.status()] == [mood in {"!busy 9", "!later 9"}, True]


@pytest.mark.parametrize("mood", ["!drop-after 3", "!error-after 3", "!pause 3"])
async def test_after_the_first_token_the_failure_is_told_and_nobody_else_asked(
    pair: tuple[StandIn, StandIn], folder: Path, mood: str
) -> None:
    pair[0].mood(mood)
    before = len(pair[1].seen())
    got: list[Delta] = []
    async with pool(**both(pair, timeouts={"between_tokens": 1})) as found:
        with pytest.raises(EngineUnavailable, match="'a'"):
            await ask(route(found, folder), folder, into=got)
    assert text(got) == ("f" if mood == "!pause 3" else "fir")
    assert len(pair[1].seen()) == before


async def test_a_server_killed_in_the_middle_is_a_failure_and_then_passed_over(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    with standing_in(folder, "first") as mortal:
        async with pool(**both((mortal, pair[1]))) as found:
            one = route(found, folder)
            with pytest.raises(EngineUnavailable, match="'a'"):
                await ask(one, folder, "!exit-after 3")
            assert text(await ask(one, folder)) == "second says: Hello"


async def test_what_is_wrong_with_the_request_is_told_at_once(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    before = len(pair[1].seen())
    async with pool(**both(pair)) as found:
        with pytest.raises(InvalidInput, match="temperature is silly"):
            await ask(route(found, folder), folder, "!refuse")
        assert all(one.is_well for one in found.status())
    assert len(pair[1].seen()) == before


@pytest.mark.parametrize(
    ("moods", "kind"),
    [
        (("!fail", "!fail"), EngineUnavailable),
        (("!busy 7", "!fail"), Overloaded),
        (("!fail", "!busy 7"), Overloaded),
    ],
)
async def test_when_nobody_answers_the_most_useful_failure_is_told(
    pair: tuple[StandIn, StandIn], folder: Path, moods: tuple[str, str], kind: type[BaigongError]
) -> None:
    for one, mood in zip(pair, moods, strict=True):
        one.mood(mood)
    async with pool(**both(pair)) as found:
        with pytest.raises(kind):
            await ask(route(found, folder), folder)


async def test_one_that_cannot_do_what_is_asked_leaves_it_to_one_that_can(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    named = both(pair)
    named["a"]["kind"] = "openai"
    async with pool(**named) as found:
        prompt = prompt_of(folder)
        stream = route(found, folder).complete(prompt, Sampling(top_k=5))
        assert text([delta async for delta in stream]) == "second says: Hello"
    async with pool(a=named["a"]) as found:
        with pytest.raises(Unsupported, match="no word for top_k"):
            _ = [d async for d in route(found, folder).complete(prompt, Sampling(top_k=5))]


async def test_a_sick_one_is_passed_over_and_asked_when_there_is_no_other(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    pair[0].mood("!fail")
    async with pool(**both(pair)) as found:
        await ask(route(found, folder), folder)
        pair[0].mood("")
        asked = len(pair[0].seen())
        assert text(await ask(route(found, folder), folder)) == "second says: Hello"
        assert len(pair[0].seen()) == asked  # it rests
        pair[1].mood("!fail")
        assert text(await ask(route(found, folder), folder)) == "first says: Hello"
        assert [one.is_well for one in found.status()] == [True, False]


async def test_probes_find_the_sick_and_the_recovered(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    pair[0].mood("!sick")
    named = both(pair) | {"c": {"url": NOBODY, "models": ["m"]}}
    async with pool(**named) as found:
        await found.watch()
        a, b, c = found.status()
        assert [a.is_well, b.is_well, c.is_well] == [False, True, False]
        assert "'a' failed with status 503" in a.reason
        assert "'c' cannot be reached" in c.reason
        assert [up.name for up, _ in route(found, folder).order()] == ["b", "a", "c"]
        pair[0].mood("")
        await found.probe()
        assert [one.is_well for one in found.status()] == [True, True, False]


async def test_the_watch_ends_with_the_pool(pair: tuple[StandIn, StandIn]) -> None:
    before = asyncio.all_tasks()
    async with pool(**both(pair)) as found:
        await found.watch()
        assert asyncio.all_tasks() - before
    assert not asyncio.all_tasks() - before


async def test_names_are_those_declared_or_else_those_listed(
    pair: tuple[StandIn, StandIn], folder: Path
) -> None:
    named = {
        "a": {"url": pair[0].url},
        "b": {"url": pair[1].url, "models": {"ours": "second"}},
    }
    async with pool(**named) as found:
        assert found.models() == {"ours": "b"}
        await found.probe()
        assert found.models() == {"first": "a", "ours": "b"}
        assert found.of_name("first") is not None
        assert found.of_name("second") is None
        # What is merely listed does not stand for a model of the hub; what is declared does.
        assert found.of_base("first", folder, has_adapter=False) is None
        assert found.of_base("ours", folder, has_adapter=False) is not None
        assert found.of_base("baigong/ours", folder, has_adapter=False) is not None


async def test_an_adapter_goes_only_where_adapters_may_be_loaded(
    pair: tuple[StandIn, StandIn], folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("mine", make_adapter(tmp_path / "a", folder))
    named = both(pair)
    async with pool(**named) as found:
        assert found.of_base("m", folder, has_adapter=True) is None
    named["b"]["adapters"] = True
    async with pool(**named) as found:
        one = found.of_base("m", folder, has_adapter=True)
        assert isinstance(one, Route)
        await one.warm(adapter)
        assert text(await ask(one, folder, adapter=adapter)) == "mine says: Hello"
        assert [status.adapters for status in found.status()] == [(), ("mine",)]


async def test_an_adapter_of_a_server_that_was_killed_is_loaded_by_the_next(
    pair: tuple[StandIn, StandIn], folder: Path, tmp_path: Path
) -> None:
    adapter = Adapter("other", make_adapter(tmp_path / "a", folder))
    named = both(pair, adapters=True)
    named["a"]["url"] = NOBODY
    async with pool(**named) as found:
        one = found.of_base("m", folder, has_adapter=True)
        assert isinstance(one, Route)
        assert text(await ask(one, folder, adapter=adapter)) == "other says: Hello"
        assert [status.is_well for status in found.status()] == [False, True]


async def test_a_numbered_release_of_another_baigong_goes_by_its_name(folder: Path) -> None:
    named = {
        "peer": {"url": NOBODY, "kind": "baigong", "models": {"desk": "support"}},
        "rack": {"url": NOBODY, "kind": "vllm", "models": ["qwen"]},
    }
    async with pool(**named) as found:
        numbered = found.of_name("desk@3")
        assert numbered is not None
        assert [name for _, name in numbered.upstreams] == ["support@3"]
        assert found.of_name("qwen@3") is None
