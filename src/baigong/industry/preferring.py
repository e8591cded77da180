"""How a served model is asked which answers it prefers: by scoring them, not by answering.

Both answers of a row are read by the engine behind the prompt, as `nats` reads any text. Per token
decides the gate: by their whole likelihood a model mostly prefers the shorter of two answers.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import msgspec

from baigong.evals.metrics import preferred
from baigong.industry.data.rows import answers
from baigong.industry.serving import Served
from baigong.inference.likelihood import nats
from baigong.tuning.examples.rows import encode
from baigong.types import Delta, Row, Sampling


class Likelihood(msgspec.Struct, frozen=True):
    """Of one answer: its nats, lower is likelier, and its tokens."""

    nats: float
    tokens: int

    @property
    def by_token(self) -> float:
        return self.nats / max(self.tokens, 1)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scores a row's answers in the place of answering it (evals.run.Ask)."""

    served: Served

    async def __call__(self, row: Row, _: Sampling) -> AsyncGenerator[Delta]:
        found = await asyncio.gather(*(self._score(row, text) for text in answers(row)))
        text = msgspec.json.encode(found).decode()
        yield Delta(text, sum(one.tokens for one in found), "stop")

    async def _score(self, row: Row, answer: str) -> Likelihood:
        served = self.served
        engine, adapter = await served.engine()
        example = encode(msgspec.structs.replace(row, answer=answer), served.tokenizer)
        # One more token has to have room.
        ids = example.ids[: engine.facts.context - 1]
        loss = await nats(engine, ids, example.start, adapter=adapter)
        return Likelihood(loss, len(ids) - example.start)


def preferences(scored: Sequence[str], share: float) -> list[str]:
    """What a model prefers, row by row, in the words of `metrics.preferred`.

    Of two answers it is the likelier one; none is preferred to its equal. An answer that was judged
    alone is preferred if it is among the `share` of such answers that are likeliest: as many as are
    good in training, so that a model is asked for an order and not for a threshold.

    Args:
        scored: what `Scoring` said of each row.
        share: of good ones among the rows that were judged.
    """
    found = [msgspec.json.decode(text, type=list[Likelihood]) for text in scored]
    by_token = _decide([[one.by_token for one in each] for each in found], share)
    by_sum = _decide([[one.nats for one in each] for each in found], share)
    return [preferred(*both) for both in zip(by_token, by_sum, strict=True)]


def _decide(rows: Sequence[Sequence[float]], share: float) -> list[bool]:
    """Whether the first of each row's numbers is low: lower than the second, or among all alone."""
    alone = sorted(each[0] for each in rows if len(each) == 1)
    most = round(share * len(alone))
    limit = alone[most - 1] if most else -math.inf
    return [each[0] < each[1] if len(each) > 1 else each[0] <= limit for each in rows]
