"""From token ids to text: pieces that never split a character, and stop strings that never leak."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from baigong.errors import ContextOverflow, InvalidInput
from baigong.inference.client import Engine, Token
from baigong.inference.tokens import Ledger
from baigong.model.chat import ChatTokenizer
from baigong.types import Delta, FinishReason, Sampling, Scored

MOST_LOGPROBS = 20  # likeliest tokens told beside each one, as at OpenAI

_UNFINISHED = "\ufffd"  # what a decoder shows for the first bytes of a character


async def stream_text(
    engine: Engine,
    tokenizer: ChatTokenizer,
    ids: Sequence[int],
    sampling: Sampling,
    adapter: str | None = None,
    shown: Mapping[int, str] | None = None,
) -> AsyncGenerator[Delta, None]:
    """Generate after `ids` and yield text as soon as it is certain; the last piece says why it ends.

    Stop strings and end tokens are not part of the text, and are counted in `tokens`; of other
    special tokens only those in `shown`, by id, have a text. Closing the iterator aborts the work.
    With `max_tokens` 0 only the prompt is scored, where that was asked.

    Raises:
        ContextOverflow: the prompt leaves no room for an answer.
        InvalidInput: a sampling setting is out of range; `param` names it.
        NotFound, EngineUnavailable: as `Engine.generate`.
    """
    check_sampling(sampling)
    if sampling.max_tokens == 0:
        yield await _score_prompt(engine, tokenizer, ids, sampling, adapter)
        return
    sampling = _fit(len(ids), sampling, engine.facts.context)
    writer = _Writer(tokenizer, ids, sampling, shown or {})
    bursts = engine.bursts(ids, sampling, adapter=adapter, stop_ids=sorted(tokenizer.eos_ids))
    async with aclosing(bursts):
        async for burst in bursts:
            delta = writer.write(burst)
            if delta is not None:
                yield delta
            if delta is not None and delta.finish_reason is not None:
                return


class _Writer:
    """Makes one answer's tokens its text."""

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        ids: Sequence[int],
        sampling: Sampling,
        shown: Mapping[int, str],
    ) -> None:
        self._ids = ids
        self._eos_ids = tokenizer.eos_ids
        self._decoder = TextStream(tokenizer, shown)
        self._stops = StopStrings(sampling.stop)
        self._can_stop = bool(sampling.stop)
        self._ledger = Ledger(tokenizer)
        self._unsaid = 0  # tokens whose text has not been said yet
        self._prompt: tuple[Scored, ...] = ()

    def write(self, burst: Sequence[Token]) -> Delta | None:
        """What these tokens make certain, up to the end of the answer; None while that is nothing."""
        said, is_stopped = "", False
        reason: FinishReason | None = None
        for token in burst:
            text, is_stopped = self._stops.push(self._read(token))
            said += text
            reason = "stop" if is_stopped else token.finish_reason
            if reason is not None:
                break
        if reason is not None and not is_stopped:
            said += self._stops.finish()
        if not said and reason is None:
            return None
        is_all = not self._can_stop or (reason is not None and not is_stopped)
        scored = self._ledger.take(None if is_all else said)
        delta = Delta(said, self._unsaid, reason, scored, self._prompt)
        self._unsaid, self._prompt = 0, ()
        return delta

    def _read(self, token: Token) -> str:
        self._unsaid += 1
        if token.prompt:
            self._prompt = self._ledger.prompt(self._ids, token.prompt)
        is_end = token.finish_reason == "stop" and token.id in self._eos_ids
        text = "" if is_end else self._decoder.push(token.id)
        if token.scores is not None and not is_end:
            self._ledger.add(token.id, token.scores)
        return text if token.finish_reason is None else text + self._decoder.finish()


async def _score_prompt(
    engine: Engine,
    tokenizer: ChatTokenizer,
    ids: Sequence[int],
    sampling: Sampling,
    adapter: str | None,
) -> Delta:
    """A piece without text that has the prompt's scores, where they were asked for."""
    prompt: tuple[Scored, ...] = ()
    if sampling.scores_prompt and sampling.logprobs is not None:
        # The engine tells them beside a first token, which nobody wants here.
        one = msgspec.structs.replace(sampling, max_tokens=1, grammar=None)
        sampling = _fit(len(ids), one, engine.facts.context)
        async with aclosing(engine.generate(ids, sampling, adapter=adapter)) as tokens:
            async for token in tokens:
                prompt = Ledger(tokenizer).prompt(ids, token.prompt)
    return Delta(finish_reason="length", prompt=prompt)


def check_sampling(sampling: Sampling) -> None:
    """Refuse settings out of range.

    Raises:
        InvalidInput: `param` names the setting.
    """
    rules = (
        ("max_tokens", sampling.max_tokens >= (not sampling.scores_prompt), "at least 1"),
        (
            "temperature",
            math.isfinite(sampling.temperature) and sampling.temperature >= 0,
            "a number from 0 up",
        ),
        ("top_p", 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("top_k", sampling.top_k >= 0, "0 (off) or more"),
        ("seed", -(2**63) <= (sampling.seed or 0) < 2**63, "a 64-bit integer"),
        ("stop", all(sampling.stop), "strings that are not empty"),
        ("min_p", 0 <= sampling.min_p <= 1, "from 0 to 1"),
        ("presence_penalty", abs(sampling.presence_penalty) <= 2, "from -2 to 2"),
        ("frequency_penalty", abs(sampling.frequency_penalty) <= 2, "from -2 to 2"),
        ("repetition_penalty", 0 < sampling.repetition_penalty <= 10, "above 0 and at most 10"),
        (
            "logit_bias",
            all(abs(bias) <= 100 for bias in sampling.logit_bias.values()),
            "numbers from -100 to 100",
        ),
        ("logprobs", 0 <= (sampling.logprobs or 0) <= MOST_LOGPROBS, f"0 to {MOST_LOGPROBS}"),
    )
    for name, is_right, wanted in rules:
        if not is_right:
            raise InvalidInput(
                f"{name} is {getattr(sampling, name)!r}.", hint=f"It must be {wanted}.", param=name
            )


def _fit(prompt: int, sampling: Sampling, context: int) -> Sampling:
    room = context - prompt
    if room < 1:
        raise ContextOverflow.of(prompt, context)
    return msgspec.structs.replace(sampling, max_tokens=min(sampling.max_tokens, room))


class TextStream:
    """Turns token ids into text one by one; the pieces join to what decoding all at once gives."""

    def __init__(self, tokenizer: ChatTokenizer, shown: Mapping[int, str] | None = None) -> None:
        self._tokenizer = tokenizer
        self._shown = shown or {}  # special tokens that are text here
        # A short tail of the ids: some decoders treat the first token of a text differently, so
        # the last piece already said is decoded again before each new one.
        self._ids: list[int] = []
        self._said = 0  # how many of these ids have been said
        self._text = ""  # what those give

    def push(self, id: int) -> str:
        """The text that this token makes certain; empty while a character is incomplete."""
        if id in self._shown:
            return self.finish() + self._shown[id]
        self._ids.append(id)
        text = self._tokenizer.decode(self._ids)
        if len(text) <= len(self._text) or text.endswith(_UNFINISHED):
            return ""
        piece = text[len(self._text) :]
        del self._ids[: self._said]
        self._said = len(self._ids)
        self._text = self._tokenizer.decode(self._ids)
        return piece

    def finish(self) -> str:
        """The rest, complete or not."""
        text = self._tokenizer.decode(self._ids)[len(self._text) :]
        self._ids, self._said, self._text = [], 0, ""
        return text


class StopStrings:
    """Holds back text that may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that is certain, and whether a stop string has come right after it."""
        if not self._stops:
            return text, False
        text = self._held + text
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            return text[: min(found)], True
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def finish(self) -> str:
        """What was held back and turned out not to be a stop string."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
