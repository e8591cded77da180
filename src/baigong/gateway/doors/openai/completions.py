"""`POST /v1/completions`: going on with a text, without a template."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.chat import fingerprint, finish_of, guarded
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.replies import DONE, Envelope, text_choice
from baigong.gateway.doors.openai.requests import (
    COMPLETION_TOKENS,
    CompletionRequest,
    Prompt,
    check_ids,
    parse,
    prompts,
)
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import EventStream, Many, unless_gone
from baigong.industry.serving import Served, Serving
from baigong.types import Delta, Sampling, Usage


async def complete(serving: Serving, request: Request) -> Response:
    """Go on with one or many prompts, whole or as a stream; choice `i` is prompt `i`."""
    asked = parse(await read_object(request), CompletionRequest)
    given = prompts("prompt", asked.prompt)
    served = await open_model(serving, asked.model)
    sampling = asked.sampling(Sampling(COMPLETION_TOKENS, served.defaults.temperature))
    envelope = Envelope(served.name, fingerprint(served), "text", asked.includes_usage)
    many, prompt_tokens = await asyncio.to_thread(_start, served, given, sampling)
    if asked.stream:
        await unless_gone(request, many.peek())
        events = _events(envelope, prompt_tokens, many)
        return EventStream(guarded(events, request), many)
    choices, tokens = await unless_gone(request, _collect(many, len(given)))
    return json_reply(envelope.whole(choices, Usage(prompt_tokens, tokens)))


def _start(served: Served, given: list[Prompt], sampling: Sampling) -> tuple[Many[Delta], int]:
    """The generations, not yet begun, and how many tokens their prompts have."""
    vocabulary = served.tokenizer.tokenizer.get_vocab_size()
    for prompt in given:
        if not isinstance(prompt, str):
            check_ids("prompt", prompt, vocabulary)
    answers = [served.complete(prompt, sampling) for prompt in given]
    return Many([a.deltas for a in answers]), sum(a.prompt_tokens for a in answers)


async def _collect(many: Many[Delta], count: int) -> tuple[list[dict[str, object]], int]:
    texts: list[list[str]] = [[] for _ in range(count)]
    finishes = ["stop"] * count
    tokens = 0
    try:
        async for i, delta in many.items():
            texts[i].append(delta.text)
            tokens += delta.tokens
            finishes[i] = finish_of(delta) or finishes[i]
    finally:
        await many.aclose()
    return [text_choice(i, "".join(texts[i]), finishes[i]) for i in range(count)], tokens


async def _events(
    envelope: Envelope, prompt_tokens: int, many: Many[Delta]
) -> AsyncGenerator[bytes]:
    tokens = 0
    async for i, delta in many.items():
        tokens += delta.tokens
        finish = finish_of(delta)
        if delta.text or finish:
            yield envelope.chunk(text_choice(i, delta.text, finish))
    if envelope.with_usage:
        yield envelope.last(Usage(prompt_tokens, tokens))
    yield DONE
