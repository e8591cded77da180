"""Our engine through its client, processes and all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from baigong.inference.client import Engine, EngineConfig
from baigong.types import Sampling
from bench.engine.play import Heard, Job, Play, Request, serve


class Ours:
    def __init__(self, job: Job) -> None:
        self._runner = asyncio.Runner()
        config = EngineConfig(threads=job.threads, dtype=job.weights, lookup=job.lookup)
        self._engine = self._runner.run(Engine.start(Path(job.model), config))
        self._runner.run(self._add(job.adapters))

    def play(self, play: Play) -> list[Heard]:
        return self._runner.run(self._play(play))

    def close(self) -> None:
        self._runner.run(self._engine.close())

    async def _play(self, play: Play) -> list[Heard]:
        began = time.perf_counter()
        if play.adding == "first":
            await self._add(play.adapters)
        heard = [Heard(0, []) for _ in play.requests]
        starts = [asyncio.Event() for _ in play.requests]
        late = asyncio.Event()

        async def one(row: int, request: Request) -> None:
            if request.wave:
                await late.wait()
            sampling = Sampling(max_tokens=request.new)
            async for token in self._engine.generate(
                request.ids, sampling, adapter=request.adapter
            ):
                heard[row].times.append(time.perf_counter() - began)
                heard[row].ids.append(token.id)
                starts[row].set()

        async def after_the_first() -> None:
            for start, request in zip(starts, play.requests, strict=True):
                if not request.wave:
                    await start.wait()
            late.set()
            if play.adding == "beside":
                await self._add(play.adapters)

        rows = [one(row, request) for row, request in enumerate(play.requests)]
        await asyncio.gather(after_the_first(), *rows)
        return [Heard(len(each.ids), each.times, each.ids) for each in heard]

    async def _add(self, adapters: dict[str, str]) -> None:
        for name, folder in adapters.items():
            await self._engine.add_adapter(name, Path(folder))


if __name__ == "__main__":
    serve(Ours, "baigong", "torch")
