"""What a model's text says: its thoughts, its answer and its tool calls, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from baigong.inference.reasoning import Thoughts
from baigong.inference.tools import Calls
from baigong.types import CallDelta, Delta, FinishReason


async def read_answer(
    deltas: AsyncGenerator[Delta],
    thoughts: Thoughts | None,
    calls: Calls | None,
    *,
    is_parallel: bool = True,
) -> AsyncGenerator[Delta]:
    """The same deltas, thoughts and calls taken out of their text.

    Unless calls may be parallel, the first one ends the answer, and with it the work behind it.
    """
    async with aclosing(deltas):
        async for delta in deltas:
            was_thinking = thoughts is not None and thoughts.is_thinking
            reasoning, text, pieces = _split(delta, thoughts, calls)
            finish = delta.finish_reason
            if calls is not None and calls.count:
                finish = _finish(finish, is_single=not is_parallel and calls.is_between)
                pieces = pieces if is_parallel else tuple(p for p in pieces if p.index == 0)
            yield msgspec.structs.replace(
                delta,
                text=text,
                reasoning=reasoning,
                calls=pieces,
                finish_reason=finish,
                reasoning_tokens=delta.tokens if was_thinking and _thought(thoughts) else 0,
            )
            if finish is not None:
                return


def _thought(thoughts: Thoughts | None) -> bool:
    """Whether there were thoughts, now that it is known."""
    return thoughts is not None and thoughts.is_open


def _finish(finish: FinishReason | None, *, is_single: bool) -> FinishReason | None:
    return "tool_calls" if finish == "stop" or (finish is None and is_single) else finish


def _split(
    delta: Delta, thoughts: Thoughts | None, calls: Calls | None
) -> tuple[str, str, tuple[CallDelta, ...]]:
    """(thoughts, answer, pieces of calls) of a piece, with all that was held back in the last."""
    is_last = delta.finish_reason is not None
    reasoning, text = "", delta.text
    pieces: tuple[CallDelta, ...] = ()
    if thoughts is not None:
        reasoning, text = thoughts.push(text)
        if is_last:
            late_reasoning, late = thoughts.finish()
            reasoning, text = reasoning + late_reasoning, text + late
    if calls is not None:
        text, pieces = calls.push(text)
        if is_last:
            late, late_pieces = calls.finish()
            text, pieces = text + late, pieces + late_pieces
    return reasoning, text, pieces
