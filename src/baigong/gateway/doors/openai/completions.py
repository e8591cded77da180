"""`POST /v1/completions`: going on with a text, without a template."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import InvalidInput
from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.chat import collect, finish_of, guarded
from baigong.gateway.doors.openai.formats import naming
from baigong.gateway.doors.openai.logprobs import TextLogprobs
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.replies import DONE, Envelope, text_choice
from baigong.gateway.doors.openai.requests import (
    COMPLETION_TOKENS,
    MOST_PROMPTS,
    CompletionRequest,
    Prompt,
    check_ids,
    parse,
    prompts,
    seeded,
)
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import EventStream, Many, unless_gone
from baigong.industry.serving import Served, Serving
from baigong.types import Delta, Sampling, Scored, Usage


async def complete(serving: Serving, request: Request) -> Response:
    """Go on with one or many prompts, whole or as a stream.

    Choice `i * n + j` is answer `j` to prompt `i`.
    """
    asked = parse(await read_object(request), CompletionRequest)
    given = prompts("prompt", asked.prompt)
    served = await open_model(serving, asked.model)
    sampling = asked.sampling(Sampling(COMPLETION_TOKENS, served.defaults.temperature))
    envelope = Envelope(served.name, served.fingerprint, "text", asked.includes_usage)
    many, prompt_tokens = await asyncio.to_thread(_start, served, given, sampling, asked)
    if asked.stream:
        await unless_gone(request, naming(asked.grammar_field, many.peek()))
        events = _events(envelope, prompt_tokens, many, asked, len(given))
        return EventStream(guarded(events, request), many)
    work = collect(many, len(given) * asked.num_choices, prompt_tokens)
    collected, usage = await unless_gone(request, naming(asked.grammar_field, work))
    choices = [
        text_choice(i, one.said.text, one.finish, _logprobs(asked, one.scored, _ledger(asked)))
        for i, one in enumerate(collected)
    ]
    return json_reply(envelope.whole(choices, usage))


def _start(
    served: Served, given: list[Prompt], sampling: Sampling, asked: CompletionRequest
) -> tuple[Many[Delta], int]:
    """The generations, not yet begun, and how many tokens their prompts have."""
    if len(given) * asked.num_choices > MOST_PROMPTS:
        raise InvalidInput(
            f"n: {len(given)} prompts with {asked.num_choices} answers each are more than "
            f"{MOST_PROMPTS}.",
            hint="Send fewer at once.",
            param="n",
        )
    vocabulary = served.tokenizer.tokenizer.get_vocab_size()
    for prompt in given:
        if not isinstance(prompt, str):
            check_ids("prompt", prompt, vocabulary)
    sources, prompt_tokens = [], 0
    for prompt in given:
        text = prompt if isinstance(prompt, str) else served.tokenizer.decode(prompt)
        first, *others = seeded(sampling, asked.num_choices)
        answer = served.complete(prompt, first)
        for deltas in (answer.deltas, *map(answer.again, others)):
            sources.append(_echoed(text, deltas) if asked.echo else deltas)
        prompt_tokens += answer.prompt_tokens
    return Many(sources), prompt_tokens


async def _echoed(text: str, deltas: AsyncIterator[Delta]) -> AsyncGenerator[Delta]:
    """The prompt's text before the answer's."""
    try:
        async for delta in deltas:
            yield msgspec.structs.replace(delta, text=text + delta.text)
            text = ""
    finally:
        if isinstance(deltas, AsyncGenerator):
            await deltas.aclose()


def _ledger(asked: CompletionRequest) -> TextLogprobs:
    return TextLogprobs(has_likeliest=bool(asked.logprobs))


def _logprobs(
    asked: CompletionRequest, scored: Sequence[Scored], ledger: TextLogprobs
) -> dict[str, Any] | None:
    return None if asked.logprobs is None else ledger.piece(scored)


async def _events(
    envelope: Envelope,
    prompt_tokens: int,
    many: Many[Delta],
    asked: CompletionRequest,
    count: int,
) -> AsyncGenerator[bytes]:
    tokens = 0
    ledgers = [_ledger(asked) for _ in range(count * asked.num_choices)]
    async for i, delta in many.items():
        tokens += delta.tokens
        finish = finish_of(delta)
        if delta.text or finish:
            logprobs = _logprobs(asked, (*delta.prompt, *delta.scored), ledgers[i])
            yield envelope.chunk(text_choice(i, delta.text, finish, logprobs))
    if envelope.with_usage:
        yield envelope.last(Usage(prompt_tokens, tokens))
    yield DONE
