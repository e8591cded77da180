"""All engines of this machine: one for each base model, in memory while it is wanted and fits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from baigong.compute import memory
from baigong.errors import BaigongError, EngineUnavailable
from baigong.inference.client import Engine, EngineConfig, EngineStats
from baigong.inference.fit import PROCESS_BYTES, fit

_log = logging.getLogger(__name__)

# Where one of these is, weights and cache are in the memory of a GPU, which is not watched here.
_GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


class TooLittleMemory(EngineUnavailable):
    """A model does not fit beside what is in use, or not at all."""

    code = "too_little_memory"

    @classmethod
    def of(cls, name: str, need: float, free: float, busy: Sequence[str]) -> TooLittleMemory:
        """The error for a model that takes `need` bytes where `free` can be had; `busy` could leave later."""
        wait = f", or try again when {' and '.join(busy)} is not in use" if busy else ""
        return cls(
            f"There is too little memory for {name}: it takes up to {need / 1e9:.2f} GB, and "
            f"{free / 1e9:.2f} GB can be freed for it.",
            hint=f"Choose a smaller dtype (int8, int4), cache_mb or adapter_mb{wait}.",
        )


class Engines:
    """Engines by model folder. Belongs to one event loop.

    A process is started when its model is first needed, and ended when nobody has needed it for
    `idle_s` or when another needs its memory. It is started only where there is memory for it.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        *,
        idle_s: float | None = None,
        available: Callable[[], float] = memory.available,
    ) -> None:
        """None of them is started yet.

        Args:
            config: of every engine.
            idle_s: after how long without use a process ends; None is never.
            available: tells the bytes that processes can still take.
        """
        self._config = config or EngineConfig()
        self._idle_s = idle_s
        self._available = available
        self._engines: dict[Path, Engine] = {}
        self._locks: dict[Path, asyncio.Lock] = {}
        self._needs: dict[Path, float] = {}  # bytes, of what has been started
        self._loading: set[Path] = set()
        self._admission = asyncio.Lock()
        self._loaded = asyncio.Event()
        self._resting: asyncio.Task[None] | None = None
        self._is_closed = False

    async def get(self, folder: Path) -> Engine:
        """The engine of a base model's folder; the first caller starts it, the others wait for it.

        A start that fails is tried again by the next call.

        Raises:
            Unsupported, InvalidInput, EngineUnavailable: as `Engine.start`.
            TooLittleMemory: it does not fit beside those that are in use; so may any later call of the
                engine, which starts a process where there is none.
        """
        engine = self._engines.get(folder)
        if engine is not None:
            return engine
        async with self._locks.setdefault(folder, asyncio.Lock()):
            if self._is_closed:
                raise EngineUnavailable("The engines have been closed.")
            if folder not in self._engines:
                self._engines[folder] = await Engine.start(folder, self._config, self._admit)
            if self._idle_s is not None and self._resting is None:
                self._resting = asyncio.create_task(self._rest(self._idle_s))
            return self._engines[folder]

    def stats(self) -> list[EngineStats]:
        """Counters of every engine that has been started."""
        return [engine.stats() for engine in self._engines.values()]

    async def close(self) -> None:
        """End every engine."""
        self._is_closed = True
        if self._resting is not None:
            self._resting.cancel()
            await asyncio.wait({self._resting})
        for folder, lock in list(self._locks.items()):
            async with lock:  # one that is being started has to be waited for
                engine = self._engines.pop(folder, None)
            if engine is not None:
                await engine.close()

    async def _rest(self, idle_s: float) -> None:
        """Unload what nobody has used for so long."""
        while True:
            running = self._running()
            for engine in running:
                if engine.idle_s >= idle_s:
                    _log.info(
                        "%s was not used for %.0f s and leaves memory.", engine.folder.name, idle_s
                    )
                    await engine.unload()
            # None can be due before the one that has been idle the longest.
            await asyncio.sleep(idle_s - min(idle_s, max((e.idle_s for e in running), default=0.0)))

    @asynccontextmanager
    async def _admit(self, engine: Engine) -> AsyncIterator[None]:
        """Wait for memory for an engine that is about to start, and count with it from then on."""
        folder = engine.folder
        need = await asyncio.to_thread(memory_need, folder, self._config)
        async with self._admission:
            while (free := await self._free()) < need:
                await self._make_room(folder, need, free)
            self._needs[folder] = need
            self._loading.add(folder)
        try:
            yield
        finally:
            self._loading.remove(folder)
            self._loaded.set()

    async def _free(self) -> float:
        """Bytes available, less what those that run or are being started may still come to take.

        Caches and adapters take their memory only when they are used.
        """
        running = self._running()
        taken = await asyncio.to_thread(lambda: [memory.taken(pid) for pid in running.values()])
        sizes = zip(running, taken, strict=True)
        growth = sum(max(0.0, self._needs[engine.folder] - size) for engine, size in sizes)
        return self._available() - growth - sum(self._needs[folder] for folder in self._loading)

    def _running(self) -> dict[Engine, int]:
        """Engines that have a process, and its number."""
        pids = ((engine, engine.pid) for engine in self._engines.values())
        return {engine: pid for engine, pid in pids if pid is not None}

    async def _make_room(self, folder: Path, need: float, free: float) -> None:
        """Let the engine leave that has been idle the longest.

        Raises:
            TooLittleMemory: without all that are idle it would still not fit; none of them leaves.
        """
        if self._loading:  # what they have taken so far counts twice: look again when they are done
            self._loaded.clear()
            await self._loaded.wait()
            return
        running = self._running()
        idle = [engine for engine in running if engine.idle_s]
        free += sum(max(self._needs[e.folder], memory.taken(running[e])) for e in idle)
        if idle and free >= need:
            longest = max(idle, key=lambda engine: engine.idle_s)
            _log.info("%s leaves memory to %s.", longest.folder.name, folder.name)
            await longest.unload()
        else:
            busy = [engine.folder.name for engine in running if engine not in idle]
            raise TooLittleMemory.of(folder.name, need, max(free, 0.0), busy)


def memory_need(folder: Path, config: EngineConfig) -> float:
    """Bytes that an engine takes at most; where `fit` cannot tell, those of its weights' files."""
    if config.device == "cuda" or (config.device == "auto" and any(p.exists() for p in _GPUS)):
        return 0.0
    try:
        found = fit(
            folder,
            dtype=config.dtype,
            context=config.context,
            concurrency=config.max_batch,
            prefill_tokens=config.prefill_tokens,
        )
    except (BaigongError, KeyError):
        return PROCESS_BYTES + sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    # As cache.room_for: no more than the largest batch can use. What has no cache has no adapters.
    cache = min(found.cache, config.cache_mb * 2**20)
    adapters = config.adapter_mb * 2**20 if cache else 0.0
    return msgspec.structs.replace(found, cache=cache, adapters=adapters).peak
