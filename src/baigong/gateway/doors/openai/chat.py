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
from baigong.gateway.doors.openai.models import open_chat
from baigong.gateway.doors.openai.replies import (
    DONE,
    Envelope,
    chat_choice,
    chat_closing,
    chat_opening,
    chat_piece,
    error_event,
)
from baigong.gateway.doors.openai.requests import ChatRequest, parse, seeded
from baigong.gateway.doors.openai.tools import Gathered, call_deltas, tool_use
from baigong.gateway.replies import crash_error, json_reply, log_crash
from baigong.gateway.streams import EventStream, Many, unless_gone
from baigong.industry.citing import Citation
from baigong.industry.serving import Serving
from baigong.types import Delta, Scored, Usage


async def chat(serving: Serving, request: Request) -> Response:
    """Answer a conversation, whole or as a stream."""
    asked = parse(await read_object(request), ChatRequest)
    messages = asked.conversation()
    use = tool_use(asked.tools or [], asked.tool_choice, asked.parallel_tool_calls)
    served = await open_chat(serving, asked.model)
    samplings = seeded(asked.sampling(served.defaults), asked.num_choices)
    options = dict(asked.chat_template_kwargs or {})
    if asked.reasoning_effort is not None:
        options = served.effort(asked.reasoning_effort) | options
    envelope = Envelope(served.name, served.fingerprint, "chat", asked.includes_usage)

    async def begin() -> tuple[tuple[Citation, ...], int, Many[Delta]]:
        first = await served.answer(messages, samplings[0], tools=use, options=options)
        many = Many([first.deltas, *map(first.again, samplings[1:])])
        source = "tools" if use.forced else asked.grammar_field
        await naming(source, many.peek())  # what fails at once has a status yet
        return first.citations, first.prompt_tokens, many

    async def whole() -> Response:
        citations, prompt_tokens, many = await begin()
        collected, usage = await collect(many, asked.num_choices, prompt_tokens)
        choices = []
        for i, one in enumerate(collected):
            logprobs = chat_logprobs(one.scored) if asked.logprobs else None
            choice = chat_choice(one.said.text, one.finish, citations, i, logprobs)
            choice["message"] |= one.said.fields()
            choices.append(choice)
        return json_reply(envelope.whole(choices, usage))

    if not asked.stream:
        return await unless_gone(request, whole())
    citations, prompt_tokens, many = await unless_gone(request, begin())
    events = _events(envelope, citations, prompt_tokens, many, asked)
    return EventStream(guarded(events, request), many)


@dataclass(slots=True)
class Collected:
    """A whole generation."""

    said: Gathered = field(default_factory=Gathered)
    finish: str = "stop"
    scored: list[Scored] = field(default_factory=list)


async def collect(
    many: Many[Delta], count: int, prompt_tokens: int
) -> tuple[list[Collected], Usage]:
    """Each of `count` generations as a whole, and what they cost together.

    Raises:
        EngineUnavailable: one was cut short by the engine.
    """
    collected, usage = [Collected() for _ in range(count)], Usage(prompt_tokens)
    try:
        async for i, delta in many.items():
            one = collected[i]
            one.said.add(delta)
            usage = counted(usage, delta)
            one.scored += (*delta.prompt, *delta.scored)
            one.finish = finish_of(delta) or one.finish
    finally:
        await many.aclose()
    return collected, usage


def counted(usage: Usage, delta: Delta) -> Usage:
    """The usage after one more delta."""
    return Usage(
        max(usage.prompt_tokens, delta.prompt_tokens),
        usage.completion_tokens + delta.tokens,
        usage.reasoning_tokens + delta.reasoning_tokens,
    )


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
    usage, said = Usage(prompt_tokens), [""] * asked.num_choices
    for i in range(asked.num_choices):
        yield envelope.chunk(chat_piece(chat_opening(citations), index=i))
    async for i, delta in many.items():
        usage = counted(usage, delta)
        said[i] += delta.text
        if delta.reasoning:
            yield envelope.chunk(chat_piece({"reasoning_content": delta.reasoning}, index=i))
        if delta.text or delta.scored:
            logprobs = chat_logprobs(delta.scored) if asked.logprobs else None
            yield envelope.chunk(chat_piece({"content": delta.text}, index=i, logprobs=logprobs))
        for call in call_deltas(delta.calls):  # one a chunk: some clients read only the first
            yield envelope.chunk(chat_piece({"tool_calls": [call]}, index=i))
        if finish := finish_of(delta):
            yield envelope.chunk(chat_piece(chat_closing(citations, said[i]), finish, i))
    if envelope.with_usage:
        yield envelope.last(usage)
    yield DONE
