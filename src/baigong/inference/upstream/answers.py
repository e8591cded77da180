"""An upstream's chunks as our deltas: text, thoughts, calls, tokens and how likely they were."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from baigong.errors import EngineUnavailable
from baigong.inference.engine.messages import Scores
from baigong.inference.tokens import Ledger
from baigong.inference.upstream.wire import Choice, Chunk, Counted, Logprobs
from baigong.model.chat import ChatTokenizer
from baigong.types import CallDelta, Delta, FinishReason, Scored

_FINISHES = {"length": "length", "tool_calls": "tool_calls", "abort": "abort"}
_ID = "token_id:"  # before an id, where a server is asked to write tokens so


class Scoring:
    """Scores by token id, told beside the text that they belong to."""

    def __init__(self, tokenizer: ChatTokenizer, likeliest: int, may_lag: bool) -> None:
        self._ledger = Ledger(tokenizer)
        self._ends = tokenizer.eos_ids
        self._likeliest = likeliest
        self._may_lag = may_lag  # text is held back while it may begin a stop string

    def take(self, logprobs: Logprobs | None, text: str, *, is_last: bool) -> tuple[Scored, ...]:
        """What the text is made of, as far as it has been told."""
        for id, scores in _scores(logprobs, self._likeliest):
            if id not in self._ends:
                self._ledger.add(id, scores)
        if not text and not is_last:
            return ()
        return self._ledger.take(text if self._may_lag and not is_last else None)


async def read(
    name: str, chunks: AsyncGenerator[Chunk], scoring: Scoring | None = None
) -> AsyncGenerator[Delta]:
    """Chunks as deltas. The last one, with the usage, comes when the stream is over.

    Raises:
        EngineUnavailable: the stream ends before the answer does.
    """
    said, finish, usage = 0, None, None
    async with aclosing(chunks):
        async for chunk in chunks:
            usage = chunk.usage or usage
            choice = chunk.choices[0] if chunk.choices else Choice()
            finish = choice.finish_reason or finish
            scored = scoring.take(choice.logprobs, choice.said, is_last=False) if scoring else ()
            if not choice.is_empty:
                count = _count(chunk, said)
                yield _delta(choice, count, scored)
                said += count
    if finish is None or finish == "error":
        raise EngineUnavailable(
            f"The upstream '{name}' stopped in the middle of the answer.", hint="Ask again."
        )
    usage = usage or Counted()
    rest = max(0, (usage.completion_tokens or 0) - said)
    reason = cast(FinishReason, _FINISHES.get(finish, "stop"))
    scored = scoring.take(None, "", is_last=True) if scoring else ()
    yield Delta("", rest, reason, scored, prompt_tokens=usage.prompt_tokens or 0)


def _count(chunk: Chunk, said: int) -> int:
    """How many tokens a chunk brought: what it says itself, else one."""
    if chunk.usage is None or chunk.usage.completion_tokens is None:
        return 1
    return max(0, chunk.usage.completion_tokens - said)


def _delta(choice: Choice, count: int, scored: tuple[Scored, ...]) -> Delta:
    calls = tuple(
        CallDelta(call.index, call.id, call.function.name, call.function.arguments or "")
        for call in choice.delta.tool_calls or ()
    )
    thought = choice.thought
    return Delta(
        choice.said,
        count,
        scored=scored,
        reasoning=thought,
        reasoning_tokens=count if thought and not choice.said else 0,
        calls=calls,
    )


def _scores(logprobs: Logprobs | None, likeliest: int) -> list[tuple[int, Scores]]:
    """Each token's id and scores; the likeliest best first, without one that is there only because
    it was chosen."""
    if logprobs is None:
        return []
    tops = logprobs.top_logprobs or [None] * len(logprobs.tokens)
    found = []
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, tops, strict=False):
        best = sorted((top or {}).items(), key=lambda item: -item[1])[:likeliest]
        ids = [_id(other) for other, _ in best]
        found.append((_id(token), Scores(logprob or 0.0, ids, [value for _, value in best])))
    return found


def _id(token: str) -> int:
    if not token.startswith(_ID):
        raise EngineUnavailable(
            "The upstream does not tell tokens by their ids.", hint="Leave logprobs out."
        )
    return int(token.removeprefix(_ID))
