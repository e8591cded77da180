"""The engine as a process: it dies, is killed, is refused, is shared, and nobody is left hanging."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from baigong.errors import ContextOverflow, EngineUnavailable, InvalidInput, NotFound, Unsupported
from baigong.inference.client import Engine, EngineConfig
from baigong.inference.engines import Engines
from baigong.types import Sampling
from tests.models import make_adapter, make_model

pytestmark = pytest.mark.anyio

ONE_THREAD = EngineConfig(threads=1)
LONG = Sampling(max_tokens=400)


@asynccontextmanager
async def running(folder: Path, config: EngineConfig = ONE_THREAD) -> AsyncIterator[Engine]:
    engine = await Engine.start(folder, config)
    try:
        yield engine
    finally:
        await engine.close()


async def answer(engine: Engine, ids: list[int], adapter: str | None = None) -> list[int]:
    return [
        token.id async for token in engine.generate(ids, Sampling(max_tokens=8), adapter=adapter)
    ]


async def seen_dead(engine: Engine) -> None:
    async with asyncio.timeout(20):
        while engine.stats().pid is not None:  # noqa: ASYNC110 - what a caller would have to do
            await asyncio.sleep(0.01)


async def test_requests_adapters_and_embeddings_share_one_process(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    adapter = make_adapter(tmp_path / "a", folder)
    async with running(folder) as engine:
        assert engine.facts.context == 512
        assert engine.facts.dtype == "float32"
        base = await answer(engine, [1, 2, 3])
        await engine.add_adapter("a", adapter)
        await engine.add_adapter("a", adapter)  # the same again costs nothing
        both = await asyncio.gather(
            answer(engine, [1, 2, 3]), answer(engine, [1, 2, 3], "a"), engine.embed([[1, 2], [3]])
        )
        assert both[0] == base != both[1]
        assert [len(vector) for vector in both[2]] == [64, 64]
        assert sum(x * x for x in both[2][0]) == pytest.approx(1, abs=1e-5)
        await engine.remove_adapter("a")
        with pytest.raises(NotFound):
            await answer(engine, [1], "a")
        with pytest.raises(NotFound):
            await engine.remove_adapter("a")
        stats = engine.stats()
        assert stats.generated_tokens == len(base) + len(both[0]) + len(both[1])
        assert (stats.starts, stats.running, stats.adapters) == (1, 0, ())


async def test_closing_a_stream_frees_its_place(tmp_path: Path) -> None:
    config = EngineConfig(threads=1, max_batch=1)
    async with running(make_model(tmp_path / "m"), config) as engine:
        async with aclosing(engine.generate([1], LONG)) as tokens:
            async for _ in tokens:
                break
        assert len(await answer(engine, [1])) == 8
        task = asyncio.create_task(answer(engine, list(range(200))))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(await answer(engine, [1])) == 8
        assert engine.stats().running == 0


async def test_bad_input_is_an_error_of_its_kind(tmp_path: Path) -> None:
    async with running(make_model(tmp_path / "m")) as engine:
        with pytest.raises(ContextOverflow, match=r"600 tokens.*512 tokens"):
            await answer(engine, [1] * 600)
        with pytest.raises(InvalidInput, match="outside"):
            await answer(engine, [999])
        with pytest.raises(ContextOverflow):
            await engine.embed([[1] * 600])
        assert len(await answer(engine, [1])) == 8


async def test_killed_engine_fails_cleanly_and_the_next_request_has_its_adapter(
    tmp_path: Path,
) -> None:
    # Long enough for none of the three to end before the engine does.
    folder = make_model(tmp_path / "m", max_position_embeddings=8192, eos_token_id=1 << 20)
    endless = Sampling(max_tokens=8000)
    adapter = make_adapter(tmp_path / "a", folder)
    async with running(folder) as engine:
        await engine.add_adapter("a", adapter)
        before = await answer(engine, [1, 2], "a")
        streams = [engine.generate([n + 1], endless) for n in range(3)]
        for stream in streams:
            await anext(stream)
        pid = engine.stats().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(EngineUnavailable, match="signal 9") as caught:
                [token async for token in stream]
            assert caught.value.retryable
        assert engine.stats().pid is None
        assert await answer(engine, [1, 2], "a") == before
        assert engine.stats().starts == 2


async def test_crash_loop_says_what_the_log_says(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    async with running(folder, EngineConfig(threads=1, logs=tmp_path / "logs")) as engine:
        # From here on every fresh process dies at once.
        (folder / "config.json").unlink()
        (folder / "config.json").mkdir()
        pid = engine.stats().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await seen_dead(engine)
        for _ in range(3):
            with pytest.raises(EngineUnavailable, match="IsADirectoryError"):
                await answer(engine, [1])
        with pytest.raises(EngineUnavailable, match=r"restarted 3 times.*(?s:.*)IsADirectoryError"):
            await answer(engine, [1])
        assert "IsADirectoryError" in next((tmp_path / "logs").glob("engine-m-*.log")).read_text()


async def test_model_that_cannot_be_served_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Unsupported, match="only pickled weights"):
        await Engine.start(folder, ONE_THREAD)


async def test_engines_start_once_for_many_callers(tmp_path: Path) -> None:
    one, two = make_model(tmp_path / "one"), make_model(tmp_path / "two", "qwen2")
    engines = Engines(ONE_THREAD)
    try:
        got = await asyncio.gather(*[engines.get(folder) for folder in (one, one, two, one)])
        assert got[0] is got[1] is got[3] is not got[2]
        assert await answer(got[0], [1]) != await answer(got[2], [1])
        assert {stats.model for stats in engines.stats()} == {"one", "two"}
        with pytest.raises(InvalidInput, match=r"no config\.json"):
            await engines.get(tmp_path)
    finally:
        await engines.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await answer(got[0], [1])
    with pytest.raises(EngineUnavailable, match="closed"):
        await engines.get(one)


def test_engine_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    program = f"""
        import asyncio
        from pathlib import Path
        from baigong.inference.client import Engine, EngineConfig
        from baigong.types import Sampling

        async def main():
            engine = await Engine.start(Path({str(folder)!r}), EngineConfig(threads=1))
            stream = engine.generate([1], Sampling(max_tokens=500))
            await anext(stream)
            print(engine.stats().pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while _is_alive(engine):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """A dead process that nobody has waited for yet is not alive."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_two_hundred_clients_that_go_away_leave_nothing_behind(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")

    async def leave(engine: Engine, number: int) -> None:
        stream = engine.generate([number, 1, 2], LONG)
        async with aclosing(stream):
            async for _ in stream:
                if number % 3:
                    return  # some after a token, the others only when the queue lets them begin
                await asyncio.sleep(0)
                return

    async with running(folder) as engine:
        expected = await answer(engine, [1, 2, 3])
        tasks = [asyncio.create_task(leave(engine, number)) for number in range(200)]
        await asyncio.sleep(0.05)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await answer(engine, [1, 2, 3]) == expected
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.cached_tokens, stats.starts) == (0, 0, 0, 1)


async def test_a_kill_while_prompts_are_read_fails_them_and_the_next_one_is_answered(
    tmp_path: Path,
) -> None:
    folder = make_model(tmp_path / "m", max_position_embeddings=4096)
    prompt = [number % 250 for number in range(4000)]
    async with running(folder) as engine:
        expected = await answer(engine, prompt)
        pid = engine.stats().pid
        assert pid is not None
        asked = [asyncio.create_task(answer(engine, [n, *prompt[1:]])) for n in range(6)]
        await asyncio.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(end, EngineUnavailable) for end in ends)
        assert all(isinstance(end, EngineUnavailable | list) for end in ends)
        assert await answer(engine, prompt) == expected
        assert engine.stats().starts == 2
