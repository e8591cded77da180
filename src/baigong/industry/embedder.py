"""Vectors for knowledge from the base model's own hidden states (types.Embed).

A decoder that was never trained to compare texts makes plain vectors; they help full text and do
not replace it. A recipe asks for them by `knowledge: {embedder: base}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from baigong.hub.chat import tokenizer_of
from baigong.hub.repository import Revision
from baigong.inference.engines import Engines

MAX_TOKENS = 512  # of one text; a chunk is shorter, and a longer query is a pasted page


class EngineEmbed:
    """Embeds through the engine of a base. May be called from any thread's event loop."""

    def __init__(self, engines: Engines, base: Revision) -> None:
        config = json.loads((base.folder / "config.json").read_text("utf-8"))
        self.size = int(config["hidden_size"])
        self.name = base.ref
        self._engines = engines
        self._base = base
        self._loop = asyncio.get_running_loop()  # the one that the engines belong to

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        work = self._embed(texts)
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        tokenizer = tokenizer_of(self._base.folder)
        engine = await self._engines.get(self._base.folder)
        # An empty text has no state to take the mean of.
        return await engine.embed([tokenizer.encode_text(t or " ")[:MAX_TOKENS] for t in texts])
