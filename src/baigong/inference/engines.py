"""All engines of this machine: one for each base model, started when it is first needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from baigong.errors import EngineUnavailable
from baigong.inference.client import Engine, EngineConfig, EngineStats


class Engines:
    """Engines by model folder. Belongs to one event loop."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self._config = config or EngineConfig()
        self._engines: dict[Path, Engine] = {}
        self._locks: dict[Path, asyncio.Lock] = {}
        self._is_closed = False

    async def get(self, folder: Path) -> Engine:
        """The engine of a base model's folder; the first caller starts it, the others wait for it.

        A start that fails is tried again by the next call.

        Raises:
            Unsupported, InvalidInput, EngineUnavailable: as `Engine.start`.
        """
        engine = self._engines.get(folder)
        if engine is not None:
            return engine
        async with self._locks.setdefault(folder, asyncio.Lock()):
            if self._is_closed:
                raise EngineUnavailable("The engines have been closed.")
            if folder not in self._engines:
                self._engines[folder] = await Engine.start(folder, self._config)
            return self._engines[folder]

    def stats(self) -> list[EngineStats]:
        """Counters of every engine that has been started."""
        return [engine.stats() for engine in self._engines.values()]

    async def close(self) -> None:
        """End every engine."""
        self._is_closed = True
        for folder, lock in list(self._locks.items()):
            async with lock:  # one that is being started has to be waited for
                engine = self._engines.pop(folder, None)
            if engine is not None:
                await engine.close()
