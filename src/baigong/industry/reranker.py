"""Models of the hub that read a question and a passage together."""

from __future__ import annotations

from collections.abc import Sequence

from baigong.hub.hub import Hub, Revision
from baigong.inference.engines import Engines
from baigong.inference.ranking import rank
from baigong.model.chat import tokenizer_of
from baigong.types import Rank


class HubRankers:
    """Rerankers by name: cross-encoders with one label, or models that write."""

    def __init__(self, hub: Hub, engines: Engines) -> None:
        self._hub = hub
        self._engines = engines

    def __call__(self, name: str) -> Rank:
        """
        Raises:
            NotFound: the hub has no such model.
        """
        return EngineRank(self._engines, self._hub.get("model", name))


class EngineRank:
    """Ranks through the engine of a base (types.Rank)."""

    def __init__(self, engines: Engines, base: Revision) -> None:
        self._engines = engines
        self._base = base

    async def __call__(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """
        Raises:
            Unsupported: the model neither writes nor scores pairs.
        """
        engine = await self._engines.get(self._base.folder)
        ranked = await rank(engine, tokenizer_of(self._base.folder), question, texts)
        return ranked.scores
