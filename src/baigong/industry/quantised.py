"""What int8 and int4 weights lose against bfloat16, measured where they would serve.

The same engine with bfloat16 weights stands beside the one that serves. A machine that tunes has
the room: tuning holds the base in float32.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from baigong.evals.metrics import METRICS
from baigong.evals.report import Entry, WeightLoss
from baigong.evals.run import predict
from baigong.industry.data.rows import sample_rows
from baigong.industry.recipe import Recipe
from baigong.industry.serving import Served
from baigong.inference.engines import Engines
from baigong.inference.likelihood import nats
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import Example, encode
from baigong.tuning.examples.texts import text_ids
from baigong.types import Report, Row, Sampling

DTYPES = ("int8", "int4")
MOST_ROWS = 200  # whose wanted answers are scored
_SHORT = "classification"  # the task whose answers are so short that they are made again


async def dtype_of(served: Served) -> str | None:
    """What its weights are quantised to; None where they are not, or where an upstream has them."""
    if served.remote is not None:
        return None
    dtype = (await served.facts()).dtype
    return dtype if dtype in DTYPES else None


@asynccontextmanager
async def exact(served: Served) -> AsyncIterator[Served]:
    """The same model with bfloat16 weights for the length of the block; itself where it has better."""
    engine = await served.engines.get(served.base.folder)
    if engine.facts.dtype not in DTYPES:
        yield served
        return
    engines = Engines(msgspec.structs.replace(engine.config, dtype="bfloat16"))
    try:
        yield replace(served, engines=engines, name=f"{served.name} in bfloat16")
    finally:
        await engines.close()


async def weigh(
    recipe: Recipe,
    served: Served,
    entry: Entry,
    sampling: Sampling,
    folder: Path,
    report: Report,
) -> WeightLoss | None:
    """What the candidate's weights lose on the rows that it was asked; None where they are not quantised.

    Args:
        recipe: says what its gate measures.
        served: the candidate.
        entry: the rows, and its answers to them.
        sampling: how it was asked.
        folder: where answers are kept, so that a kill loses none.
        report: told of the answers made.
    """
    dtype = await dtype_of(served)
    if dtype is None:
        return None
    rows = sample_rows(entry.rows, MOST_ROWS)
    async with exact(served) as other:
        context = min((await served.facts()).context, (await other.facts()).context)
        read = _texts if recipe.task == "text" else _examples
        examples = await asyncio.to_thread(read, rows, served.tokenizer, context)
        theirs, mine = await _loss(other, examples), await _loss(served, examples)
        tokens = sum(len(example.ids) - example.start for example in examples)
        loss = WeightLoss(
            dtype=dtype,
            perplexity=_perplexity(mine, tokens),
            exact=_perplexity(theirs, tokens),
            rows=len(examples),
            tokens=tokens,
        )
        if recipe.task != _SHORT:
            return loss
        made = await predict(
            rows,
            other.reply,
            sampling,
            concurrency=32,
            done=folder / "exact.jsonl",
            report=report,
        )
    answers = dict(zip((row.id for row in entry.rows), entry.answers, strict=True))
    metric = METRICS[recipe.gate.metric]
    return msgspec.structs.replace(
        loss,
        metric=metric.name,
        value=metric.value(rows, [answers[row.id] for row in rows]),
        exact_value=metric.value(rows, [answer.text for answer in made]),
    )


def _examples(rows: Sequence[Row], tokenizer: ChatTokenizer, context: int) -> list[Example]:
    """Prompts with the wanted answers, as they are trained on; one more token has to have room."""
    made = [encode(row, tokenizer) for row in rows if row.is_good is not False]
    return [one for one in made if 0 < one.start < len(one.ids) < context]


def _texts(rows: Sequence[Row], tokenizer: ChatTokenizer, context: int) -> list[Example]:
    """The beginnings of texts, as long as the context."""
    made = [text_ids(row.messages[-1].content, tokenizer)[: context - 1] for row in rows]
    return [Example(ids, 1) for ids in made]


async def _loss(served: Served, examples: Sequence[Example]) -> float:
    """Nats of all wanted answers."""
    engine, adapter = await served.engine()
    work = [nats(engine, one.ids, one.start, adapter=adapter) for one in examples]
    return sum(await asyncio.gather(*work))


def _perplexity(loss: float, tokens: int) -> float:
    return math.exp(min(loss / max(tokens, 1), 700.0))
