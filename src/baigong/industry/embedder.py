"""The embedders of knowledge by name: tables of token vectors, or models behind an engine.

A decoder that was never trained to compare texts makes plain vectors; they help full text and do
not replace it. A recipe asks for a base's by `knowledge: {embedder: base}`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baigong.hub.access import acting
from baigong.hub.hub import BUILT_IN, FOUNDATION, Hub, Revision
from baigong.inference.engines import Engines
from baigong.inference.static import StaticEmbed, is_static
from baigong.model.architecture import read_shape
from baigong.model.chat import tokenizer_of
from baigong.model.vectors import Vectors
from baigong.types import Embed

PACKAGED = "baigong/pollen"  # the embedder that comes with Baigong
DEFAULT = "builtin"  # what a knowledge base is made with where nobody says
MAX_TOKENS = 512  # of one text; a chunk is shorter, and a longer query is a pasted page


@lru_cache(maxsize=4)
def static_embed(folder: Path, name: str) -> StaticEmbed:
    """The embedder whose table of token vectors lies in `folder`; read once."""
    return StaticEmbed(folder, name)


def sentence_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """How near sentences are (types.Vectors), by the table in the package, some 7 us for each.

    It is not the embedder of a knowledge base: what an answer needs is calibrated for this one.
    """
    return static_embed(FOUNDATION / "pollen", PACKAGED).vectors(texts)


class HubEmbedders:
    """Embedders by name (types.Embedders): models of the hub."""

    def __init__(self, hub: Hub, engines: Engines) -> None:
        self._hub = hub
        self._engines = engines

    def __call__(self, name: str) -> Embed:
        """
        Raises:
            NotFound: the hub has no such model.
        """
        model = self._hub.get("model", name)
        if is_static(model.folder):
            return static_embed(model.folder, model.ref)
        return EngineEmbed(self._engines, model)

    def wanted(self, name: str) -> Embed | None:
        """The same for what a person typed: `none` is none, `builtin` the one in the package.

        A model of the package is copied into the hub: what was indexed with it must be searched
        with the same weights when the package has others.
        """
        if name == "none":
            return None
        model = self._hub.get("model", PACKAGED if name == DEFAULT else name, acting.get())
        if model.name.startswith(f"{BUILT_IN}/"):
            self._hub.add("model", model.name, model.folder, model.facts)
        return self(model.ref)


class EngineEmbed:
    """Embeds through the engine of a base. May be called from any thread's event loop."""

    def __init__(self, engines: Engines, base: Revision) -> None:
        self.size = Vectors.read(base.folder).size(read_shape(base.folder).hidden_size)
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
        limit = min(MAX_TOKENS, engine.facts.context)
        # An empty text has no state to take the mean of.
        vectors = await engine.embed([tokenizer.fitting(text or " ", limit) for text in texts])
        return [_unit(vector) for vector in vectors]


def _unit(vector: Sequence[float]) -> list[float]:
    """A model's own folder may ask for vectors of any length; an index compares directions."""
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length else list(vector)
