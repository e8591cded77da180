"""More adapters than memory has room for: they take turns, and no answer shows it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from baigong.errors import EngineUnavailable, InvalidInput
from baigong.inference.client import Engine, EngineConfig
from baigong.types import Sampling
from tests.inference.test_client import LONG, ONE_THREAD, answer, running
from tests.models import make_adapter, make_model

pytestmark = pytest.mark.anyio

PROMPT = [1, 2, 3]


def make(tmp_path: Path, count: int) -> tuple[Path, dict[str, Path]]:
    """A model, and adapters that all take the same memory."""
    folder = make_model(tmp_path / "m", max_position_embeddings=4096)
    names = [f"a{number}" for number in range(count)]
    adapters = {n: make_adapter(tmp_path / n, folder, seed=s) for s, n in enumerate(names)}
    return folder, adapters


async def register(engine: Engine, adapters: dict[str, Path]) -> None:
    await asyncio.gather(*[engine.add_adapter(name, path) for name, path in adapters.items()])


async def alone(folder: Path, adapters: dict[str, Path]) -> tuple[dict[str, list[int]], int]:
    """Each adapter's answer where all have room, and the bytes of one adapter."""
    async with running(folder) as engine:
        await register(engine, adapters)
        answers = {name: await answer(engine, PROMPT, name) for name in adapters}
        stats = engine.stats()
        assert stats.loaded_adapters == len(adapters)
        return answers, stats.adapter_bytes // len(adapters)


def room_for(count: int, size: int) -> EngineConfig:
    return EngineConfig(threads=1, adapter_mb=(count + 0.5) * size / 2**20)


async def test_sixteen_adapters_take_turns_in_the_room_of_four(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 16)
    expected, size = await alone(folder, adapters)
    assert len(set(map(tuple, expected.values()))) == 16
    async with running(folder, room_for(4, size)) as engine:
        await register(engine, adapters)

        async def ask(name: str) -> None:
            tokens = []
            async for token in engine.generate(PROMPT, Sampling(max_tokens=8), adapter=name):
                tokens.append(token.id)
                stats = engine.stats()
                assert stats.loaded_adapters <= 4
                assert stats.adapter_bytes <= 4.5 * size
            assert tokens == expected[name]

        async def give_up(name: str) -> None:
            async with aclosing(engine.generate(PROMPT, LONG, adapter=name)) as tokens:
                await anext(tokens)

        for _ in range(3):
            await asyncio.gather(*map(ask, adapters), *map(give_up, list(adapters)[::3]))
        stats = engine.stats()
        assert (len(stats.adapters), stats.starts) == (16, 1)


async def test_one_that_is_asked_for_all_the_time_does_not_keep_others_out(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 2)
    expected, size = await alone(folder, adapters)
    async with running(folder, room_for(1, size)) as engine:
        await register(engine, adapters)
        answered = asyncio.Event()

        async def insist() -> None:
            while not answered.is_set():
                assert await answer(engine, PROMPT, "a0") == expected["a0"]

        crowd = [asyncio.create_task(insist()) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert await answer(engine, PROMPT, "a1") == expected["a1"]
        answered.set()
        await asyncio.gather(*crowd)


async def test_adapters_larger_than_the_whole_room_are_held_alone(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 3)
    expected, size = await alone(folder, adapters)
    async with running(folder, room_for(0, size)) as engine:
        await register(engine, adapters)
        answers = await asyncio.gather(*[answer(engine, PROMPT, name) for name in adapters])
        assert answers == list(expected.values())
        assert engine.stats().loaded_adapters == 1


async def test_another_is_seen_to_fit_at_once_though_all_that_are_held_are_in_use(
    tmp_path: Path,
) -> None:
    folder, adapters = make(tmp_path, 3)
    expected, size = await alone(folder, adapters)
    (tmp_path / "empty").mkdir()
    async with running(folder, room_for(1, size)) as engine:
        await engine.add_adapter("a0", adapters["a0"])
        stream = engine.generate(PROMPT, Sampling(max_tokens=4000), adapter="a0")
        async with aclosing(stream):
            await anext(stream)
            with pytest.raises(InvalidInput, match="adapter_config"):
                await engine.add_adapter("empty", tmp_path / "empty")
            await engine.add_adapter("a1", adapters["a1"])
            assert (engine.adapters, engine.stats().loaded_adapters) == (("a0", "a1"), 1)
            waiting = asyncio.create_task(answer(engine, PROMPT, "a1"))
            gone = asyncio.create_task(answer(engine, PROMPT, "a0"))  # behind it
            await asyncio.sleep(0.05)
            assert not waiting.done()
            gone.cancel()
        assert await waiting == expected["a1"]


async def test_a_running_answer_keeps_the_weights_that_its_name_had(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 2)
    expected, size = await alone(folder, adapters)
    prompt = list(range(200))  # long enough to be kept and found again
    async with running(folder, room_for(1, size)) as engine:
        await engine.add_adapter("a", adapters["a1"])
        other = await answer(engine, prompt, "a")
        await engine.add_adapter("a", adapters["a0"])
        whole = [t.id async for t in engine.generate(prompt, LONG, adapter="a")]
        stream = engine.generate(prompt, LONG, adapter="a")
        began = [(await anext(stream)).id]
        await engine.add_adapter("a", adapters["a1"])
        fresh = asyncio.create_task(answer(engine, prompt, "a"))
        assert began + [token.id async for token in stream] == whole
        assert await fresh == other != whole[:8]
        assert await answer(engine, PROMPT, "a") == expected["a1"]
        assert engine.stats().loaded_adapters == 1


async def test_one_folder_under_two_names_is_held_once(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 1)
    async with running(folder) as engine:
        await register(engine, {"one": adapters["a0"], "two": adapters["a0"]})
        assert engine.stats().loaded_adapters == 1
        before = await answer(engine, PROMPT, "one")
        await engine.remove_adapter("one")
        assert await answer(engine, PROMPT, "two") == before
        await engine.remove_adapter("two")
        assert engine.stats().loaded_adapters == 0


async def test_files_that_are_gone_are_told_and_do_not_spoil_the_room(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 2)
    expected, size = await alone(folder, adapters)
    async with running(folder, room_for(1, size)) as engine:
        await register(engine, adapters)
        assert await answer(engine, PROMPT, "a1") == expected["a1"]
        shutil.rmtree(adapters["a0"])
        ends = await asyncio.gather(
            *[answer(engine, PROMPT, "a0") for _ in range(3)], return_exceptions=True
        )
        assert all(isinstance(end, InvalidInput) for end in ends)
        assert await answer(engine, PROMPT, "a1") == expected["a1"]


async def test_a_kill_while_an_adapter_is_read_is_one_error_for_each(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 2)
    expected, _ = await alone(folder, adapters)
    settings = adapters["a0"] / "adapter_config.json"
    content = settings.read_bytes()
    async with running(folder) as engine:
        await register(engine, adapters)
        kill(engine)
        await gone(engine)  # a fresh process has to read them again
        settings.unlink()
        os.mkfifo(settings)
        asked = [asyncio.create_task(answer(engine, PROMPT, "a0")) for _ in range(3)]
        pipe = await opened_by_a_reader(settings)
        assert await answer(engine, PROMPT, "a1") == expected["a1"]  # others go on meanwhile
        kill(engine)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ends] == [EngineUnavailable] * 3
        os.close(pipe)
        settings.unlink()
        settings.write_bytes(content)
        assert await answer(engine, PROMPT, "a0") == expected["a0"]
        assert engine.stats().starts == 3


async def test_a_kill_while_requests_wait_for_room_is_one_error_for_each(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 4)
    expected, size = await alone(folder, adapters)
    async with running(folder, room_for(1, size)) as engine:
        await register(engine, adapters)
        stream = engine.generate(PROMPT, Sampling(max_tokens=4000), adapter="a0")
        await anext(stream)
        waiting = [asyncio.create_task(answer(engine, PROMPT, f"a{n}")) for n in (1, 2, 3, 0)]
        await asyncio.sleep(0.02)
        kill(engine)
        # The stream is not read on: nobody may have to wait for that.
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [EngineUnavailable] * 4
        with pytest.raises(EngineUnavailable):
            [token async for token in stream]
        answers = await asyncio.gather(*[answer(engine, PROMPT, name) for name in adapters])
        assert answers == list(expected.values())


async def test_removing_waits_for_the_last_answer(tmp_path: Path) -> None:
    folder, adapters = make(tmp_path, 1)
    async with running(folder, ONE_THREAD) as engine:
        await register(engine, adapters)
        whole = [t.id async for t in engine.generate(PROMPT, LONG, adapter="a0")]
        stream = engine.generate(PROMPT, LONG, adapter="a0")
        began = [(await anext(stream)).id]
        removing = asyncio.create_task(engine.remove_adapter("a0"))
        assert began + [token.id async for token in stream] == whole
        await removing
        assert engine.stats().loaded_adapters == 0


def kill(engine: Engine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


async def gone(engine: Engine) -> None:
    async with asyncio.timeout(20):
        while engine.pid is not None:  # noqa: ASYNC110 - what a caller would have to do
            await asyncio.sleep(0.01)


async def opened_by_a_reader(pipe: Path) -> int:
    """The writing end of a named pipe, as soon as the engine has opened the other."""
    async with asyncio.timeout(60):
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                await asyncio.sleep(0.01)
