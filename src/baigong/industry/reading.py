"""How well a model knows a text: what is measured where nothing is asked, and nothing answers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator

from baigong.evals.metrics import BITS
from baigong.industry.serving import Served
from baigong.inference.likelihood import nats
from baigong.tuning.examples.texts import text_ids
from baigong.types import Delta, Row, Sampling


async def read_text(served: Served, row: Row, _: Sampling) -> AsyncIterator[Delta]:
    """The bits that each byte of a text costs by a model's likelihood, as an answer (evals.run.Ask).

    The text stands alone, as a document does in training. One that is longer than the context is read in
    windows, each token after half a window of what stood before it.
    """
    text = row.messages[-1].content
    ids = text_ids(text, served.tokenizer)
    engine, adapter = await served.engine()
    total = 0.0
    for start, scored, stop in _windows(len(ids), engine.facts.context - 1):
        total += await nats(engine, ids[start:stop], scored - start, adapter=adapter)
    bits = total / math.log(2) / len(text.encode())
    yield Delta(f"{bits:.4f}{BITS}", finish_reason="stop")


def _windows(length: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Of each window where it begins, from where on its tokens count, and where it ends."""
    yield 0, 1, min(size, length)
    for at in range(size, length, size // 2):
        stop = min(at + size // 2, length)
        yield max(0, stop - size), at, stop
