"""How likely a model holds a text, in nats: what perplexities are made of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from baigong.inference.client import Engine
from baigong.types import Sampling


async def nats(
    engine: Engine, ids: Sequence[int], start: int = 1, *, adapter: str | None = None
) -> float:
    """Negative log likelihood of the tokens from the place `start` (1 or more) on.

    Raises:
        ContextOverflow, InvalidInput, EngineUnavailable: as `Engine.generate`.
    """
    sampling = Sampling(max_tokens=1, logprobs=0, scores_prompt=True)
    async with aclosing(engine.generate(ids, sampling, adapter=adapter)) as tokens:
        first = await anext(tokens)
    # The first score is that of the second token.
    return -sum(score.logprob for score in first.prompt[start - 1 :])
