"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError, EngineUnavailable
from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.formats import naming
from baigong.gateway.doors.openai.logprobs import chat_logprobs
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.replies import (
    DONE,
    Envelope,
    chat_choice,
    chat_opening,
    chat_piece,
    error_event,
)
from baigong.gateway.doors.openai.requests import ChatRequest, parse, seeded
from baigong.gateway.replies import crash_error, json_reply, log_crash
from baigong.gateway.streams import EventStream, Many, unless_gone
from baigong.industry.serving import Citation, Served, Serving
from baigong.types import Delta, Scored, Usage


async def chat(serving: Serving, request: Request) -> Response:
    """Answer a conversation, whole or as a stream."""
    asked = parse(await read_object(request), ChatRequest)
    messages = asked.conversation()
    served = await open_model(serving, asked.model)
    samplings = seeded(asked.sampling(served.defaults), asked.num_choices)
    envelope = Envelope(served.name, fingerprint(served), "chat", asked.includes_usage)

    async def begin() -> tuple[tuple[Citation, ...], int, Many[Delta]]:
        first = await served.answer(messages, samplings[0])
        many = Many([first.deltas, *map(first.again, samplings[1:])])
        await naming(asked.structured_outputs, many.peek())  # what fails at once has a status yet
        return first.citations, first.prompt_tokens, many

    async def whole() -> Response:
        citations, prompt_tokens, many = await begin()
        collected = await collect(many, asked.num_choices)
        choices = [
            chat_choice(
                one.text,
                one.finish,
                citations,
                i,
                chat_logprobs(one.scored) if asked.logprobs else None,
            )
            for i, one in enumerate(collected)
        ]
        usage = Usage(prompt_tokens, sum(one.tokens for one in collected))
        return json_reply(envelope.whole(choices, usage))

    if not asked.stream:
        return await unless_gone(request, whole())
    citations, prompt_tokens, many = await unless_gone(request, begin())
    events = _events(envelope, citations, prompt_tokens, many, asked)
    return EventStream(guarded(events, request), many)


def fingerprint(served: Served) -> str:
    """Which weights answered: equal fingerprints and seeds give equal answers."""
    adapter = f"-{served.adapter.revision[:12]}" if served.adapter is not None else ""
    return f"fp_{served.base.revision[:12]}{adapter}"


@dataclass(slots=True)
class Collected:
    """A whole generation."""

    text: str = ""
    finish: str = "stop"
    tokens: int = 0
    scored: list[Scored] = field(default_factory=list)


async def collect(many: Many[Delta], count: int) -> list[Collected]:
    """Each of `count` generations as a whole.

    Raises:
        EngineUnavailable: one was cut short by the engine.
    """
    texts: list[list[str]] = [[] for _ in range(count)]
    collected = [Collected() for _ in range(count)]
    try:
        async for i, delta in many.items():
            one = collected[i]
            texts[i].append(delta.text)
            one.tokens += delta.tokens
            one.scored += (*delta.prompt, *delta.scored)
            one.finish = finish_of(delta) or one.finish
    finally:
        await many.aclose()
    for one, pieces in zip(collected, texts, strict=True):
        one.text = "".join(pieces)
    return collected


def finish_of(delta: Delta) -> str | None:
    """OpenAI's finish reason of a delta; None while there is more to come.

    Raises:
        EngineUnavailable: the engine gave up, which OpenAI's protocol has no word for.
    """
    if delta.finish_reason == "abort":
        raise EngineUnavailable(
            "The engine stopped in the middle of the answer.", hint="Ask again."
        )
    return delta.finish_reason


async def guarded(events: AsyncGenerator[bytes], request: Request) -> AsyncGenerator[bytes]:
    """`events`, with a failure told as the last of them."""
    try:
        async for piece in events:
            yield piece
    except BaigongError as error:
        yield error_event(error)
    except Exception:
        log_crash(request)
        yield error_event(crash_error(request))
        raise


async def _events(
    envelope: Envelope,
    citations: tuple[Citation, ...],
    prompt_tokens: int,
    many: Many[Delta],
    asked: ChatRequest,
) -> AsyncGenerator[bytes]:
    tokens = 0
    for i in range(asked.num_choices):
        yield envelope.chunk(chat_piece(chat_opening(citations), index=i))
    async for i, delta in many.items():
        tokens += delta.tokens
        if delta.text or delta.scored:
            logprobs = chat_logprobs(delta.scored) if asked.logprobs else None
            yield envelope.chunk(chat_piece({"content": delta.text}, index=i, logprobs=logprobs))
        if finish := finish_of(delta):
            yield envelope.chunk(chat_piece({}, finish, i))
    if envelope.with_usage:
        yield envelope.last(Usage(prompt_tokens, tokens))
    yield DONE
