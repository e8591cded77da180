"""Does a model with a head say, where it serves, what it said at the end of its training?

Token ids must be those that serving makes of the same rows, pixels those that serving makes of the same
files, and what the engine says must differ by no more than its dtype rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baigong.errors import Refused
from baigong.industry.serving import Served
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.labelled import asked_text
from baigong.tuning.told import Told, read_told
from baigong.types import Row

# By how much a share, or a vector's number, may differ.
_ROUNDING = {"float32": 0.001}
_ROUNDED = 0.05


async def check_heads(folder: Path, served: Served, rows: Sequence[Row]) -> int:
    """Compare; the number of rows that agree.

    Args:
        folder: of the tuning.
        served: what would answer.
        rows: that were trained on.

    Raises:
        Refused: they differ.
    """
    told = read_told(folder)
    facts = await served.facts()
    if served.words is not None:
        _check_ids(told, served.tokenizer, rows, facts.context)
    dtype = facts.dtype
    limit = _ROUNDING.get(dtype, _ROUNDED)
    for number, (wanted, found) in enumerate(zip(told, await _ask(served, told), strict=True), 1):
        apart = max(abs(a - b) for a, b in zip(wanted.numbers, found, strict=True)) / wanted.unit
        if apart > limit:
            raise Refused(
                f"What was trained is not what would be served. Row {number}: the model's numbers are"
                f" {apart:.2g} apart, in {dtype} at most {limit:g}.",
                hint="The release was not made; what is live stays live.",
            )
    return len(told)


def _check_ids(
    told: Sequence[Told], words: ChatTokenizer, rows: Sequence[Row], context: int
) -> None:
    made: set[tuple[int, ...]] = set()
    is_pair = any(one.second is not None for one in told)
    for row in rows:
        text = asked_text(row.messages)
        ids = words.fitting_pair(text, row.answer, context)[0] if is_pair else None
        made.add(tuple(words.fitting(text, context) if ids is None else ids))
    for number, one in enumerate(told, 1):
        if isinstance(one.asked, list) and tuple(one.asked) not in made:
            raise Refused(
                f"What was trained is not what would be served. Row {number}: serving makes other"
                " token ids of its text.",
                hint="The release was not made; what is live stays live.",
            )


async def _ask(served: Served, told: Sequence[Told]) -> list[list[float]]:
    engine, _ = await served.engine()
    files = [one.asked for one in told if isinstance(one.asked, bytes)]
    if files:
        return await engine.look(files)
    ids = [one.asked for one in told if isinstance(one.asked, list)]
    if "classify" not in engine.facts.tasks:
        return await engine.embed(ids)
    seconds = [one.second for one in told if one.second is not None]
    return await engine.classify(ids, seconds)
