"""Which models are in memory: idle ones leave, wanted ones come, and none where it does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from baigong.errors import InvalidInput
from baigong.inference.client import Engine, EngineConfig
from baigong.inference.engines import Engines, TooLittleMemory, memory_need
from baigong.inference.fit import PROCESS_BYTES, fit
from baigong.types import Sampling
from tests.inference.test_client import answer
from tests.models import make_adapter, make_model

pytestmark = pytest.mark.anyio

CONFIG = EngineConfig(threads=1, device="cpu", adapter_mb=1)
ENDLESS = Sampling(max_tokens=4000)


@asynccontextmanager
async def opened(
    *, idle_s: float | None = None, available: Callable[[], float] = lambda: 1e12
) -> AsyncIterator[Engines]:
    engines = Engines(CONFIG, idle_s=idle_s, available=available)
    try:
        yield engines
    finally:
        await engines.close()


async def unloaded(engine: Engine) -> None:
    async with asyncio.timeout(30):
        while engine.pid is not None:  # noqa: ASYNC110 - what a caller would have to do
            await asyncio.sleep(0.01)


class Machine:
    """Memory for so many of these models at once."""

    def __init__(self, *folders: Path, count: int) -> None:
        self._need = max(memory_need(folder, CONFIG) for folder in folders)
        self._room = (count + 0.5) * self._need
        self.engines: Engines

    def __call__(self) -> float:
        running = sum(stats.pid is not None for stats in self.engines.stats())
        return self._room - running * self._need


async def test_an_idle_engine_leaves_and_comes_back_with_its_adapters(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    adapter = make_adapter(tmp_path / "a", folder)
    async with opened(idle_s=0.2) as engines:
        engine = await engines.get(folder)
        await engine.add_adapter("a", adapter)
        before = await answer(engine, [1, 2], "a")
        facts = engine.facts
        await unloaded(engine)
        stats = engine.stats()
        assert (stats.pid, stats.adapters, stats.loaded_adapters) == (None, ("a",), 0)
        assert stats.generated_tokens == len(before)
        assert engine.facts == facts
        again = await asyncio.gather(*[answer(engine, [1, 2], "a") for _ in range(3)])
        assert again == [before] * 3
        assert await engines.get(folder) is engine
        assert engine.stats().starts == 2


async def test_an_engine_in_use_stays_however_long(tmp_path: Path) -> None:
    folders = [
        make_model(tmp_path / name, max_position_embeddings=4096) for name in ("used", "idle")
    ]
    async with opened(idle_s=0.2) as engines:
        used, idle = [await engines.get(folder) for folder in folders]
        async with aclosing(used.generate([1], ENDLESS)) as tokens:
            await anext(tokens)
            pid = used.pid
            await answer(idle, [1])
            await unloaded(idle)
            await used.unload()  # asked directly, it stays as well
            await anext(tokens)
            assert used.pid == pid is not None
        await unloaded(used)


async def test_two_models_take_turns_in_memory_for_one(tmp_path: Path) -> None:
    one = make_model(tmp_path / "one", max_position_embeddings=4096)
    two = make_model(tmp_path / "two", "qwen2", max_position_embeddings=4096)
    machine = Machine(one, two, count=1)
    async with opened(available=machine) as engines:
        machine.engines = engines
        first = await engines.get(one)
        await first.add_adapter("a", make_adapter(tmp_path / "a", one))
        before = await answer(first, [1, 2], "a")
        second = await engines.get(two)
        assert (first.pid, len(await answer(second, [1]))) == (None, 8)
        assert await answer(first, [1, 2], "a") == before
        assert second.pid is None
        async with aclosing(first.generate([1], ENDLESS)) as tokens:
            await anext(tokens)
            with pytest.raises(
                TooLittleMemory, match=r"can be freed.*when one is not in use"
            ) as no:
                await answer(second, [1])
            assert (no.value.code, no.value.retryable) == ("too_little_memory", True)
            await anext(tokens)  # who was there first goes on
        for _ in range(3):  # refusals and unloads are no crashes: nothing counts them
            assert len(await answer(second, [1])) == 8
            assert await answer(first, [1, 2], "a") == before


async def test_the_longest_idle_leaves_first(tmp_path: Path) -> None:
    folders = [make_model(tmp_path / name) for name in ("a", "b", "c")]
    machine = Machine(*folders, count=2)
    async with opened(available=machine) as engines:
        machine.engines = engines
        a, b = [await engines.get(folder) for folder in folders[:2]]
        await answer(a, [1])  # now b is the one that nobody has used for longest
        c = await engines.get(folders[2])
        assert (a.pid is None, b.pid is None, c.pid is None) == (False, True, False)


async def test_starts_at_once_do_not_count_on_the_same_memory(tmp_path: Path) -> None:
    folders = [make_model(tmp_path / name) for name in ("a", "b", "c")]
    machine = Machine(*folders, count=1)
    async with opened(available=machine) as engines:
        machine.engines = engines
        most = 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, sum(stats.pid is not None for stats in engines.stats()))
                await asyncio.sleep(0.001)

        watch = asyncio.create_task(look())
        await asyncio.gather(*map(engines.get, folders))
        watch.cancel()
        assert most == 1


async def test_a_model_too_large_for_the_machine_is_refused_in_words(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    async with opened(available=lambda: 50e6) as engines:
        with pytest.raises(TooLittleMemory, match=r"for m: it takes .* and 0\.05 GB.*dtype"):
            await engines.get(folder)
        with pytest.raises(TooLittleMemory, match="too little memory"):
            await engines.get(folder)
        assert engines.stats() == []


async def test_a_model_that_would_not_fit_anyhow_drives_nobody_out(tmp_path: Path) -> None:
    small, large = make_model(tmp_path / "m"), make_model(tmp_path / "large")
    with (large / "model-2.safetensors").open("wb") as file:
        file.truncate(2**40)  # takes no place on the disk
    (large / "config.json").write_text("{}")
    machine = Machine(small, count=1)
    async with opened(available=machine) as engines:
        machine.engines = engines
        engine = await engines.get(small)
        await answer(engine, [1])
        with pytest.raises(TooLittleMemory, match=r"large: it takes up to 1099\.\d\d GB"):
            await engines.get(large)
        assert engine.pid is not None


async def test_a_start_that_fails_gives_its_memory_back(tmp_path: Path) -> None:
    folder, broken = make_model(tmp_path / "m"), make_model(tmp_path / "broken")
    (broken / "config.json").write_text("{")
    machine = Machine(folder, count=1)
    async with opened(available=machine) as engines:
        machine.engines = engines
        with pytest.raises(InvalidInput):
            await engines.get(broken)
        starting = asyncio.create_task(engines.get(broken))
        await asyncio.sleep(0.1)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert len(await answer(await engines.get(folder), [1])) == 8


def test_need_is_what_fit_says_within_the_configured_room(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", max_position_embeddings=8192)
    found = fit(folder, concurrency=CONFIG.max_batch)
    small = EngineConfig(device="cpu", cache_mb=16, adapter_mb=1)
    large = EngineConfig(device="cpu", cache_mb=100_000, adapter_mb=3)
    assert found.cache > 16 * 2**20
    assert memory_need(folder, large) == pytest.approx(found.peak + 3 * 2**20)
    less = found.cache - 16 * 2**20  # the cache is never larger than the batch can use
    assert memory_need(folder, large) - memory_need(folder, small) == pytest.approx(less + 2**21)


def test_need_of_what_fit_does_not_know_is_the_size_of_its_files(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "config.json").write_text("{}")
    size = (folder / "model.safetensors").stat().st_size
    assert memory_need(folder, CONFIG) == PROCESS_BYTES + size
