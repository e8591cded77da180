"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError, EngineUnavailable
from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.replies import (
    DONE,
    Envelope,
    chat_choice,
    chat_opening,
    chat_piece,
    error_event,
)
from baigong.gateway.doors.openai.requests import ChatRequest, parse
from baigong.gateway.doors.openai.tools import Gathered, call_deltas, tool_use
from baigong.gateway.replies import crash_error, json_reply, log_crash
from baigong.gateway.streams import Ahead, EventStream, unless_gone
from baigong.industry.serving import Citation, Served, Serving
from baigong.inference.reasoning import effort_options
from baigong.types import Delta, Usage


async def chat(serving: Serving, request: Request) -> Response:
    """Answer a conversation, whole or as a stream."""
    asked = parse(await read_object(request), ChatRequest)
    messages = asked.conversation()
    use = tool_use(asked.tools or [], asked.tool_choice, asked.parallel_tool_calls)
    served = await open_model(serving, asked.model)
    sampling = asked.sampling(served.defaults)
    options = dict(asked.chat_template_kwargs or {})
    if asked.reasoning_effort is not None:
        options = effort_options(asked.reasoning_effort, served.tokenizer) | options
    envelope = Envelope(served.name, fingerprint(served), "chat", asked.includes_usage)

    async def begin() -> tuple[tuple[Citation, ...], int, Ahead[Delta]]:
        answer = await served.answer(messages, sampling, tools=use, options=options)
        ahead = Ahead(answer.deltas)
        await ahead.peek()  # so that what fails at once still has a status
        return answer.citations, answer.prompt_tokens, ahead

    async def whole() -> Response:
        citations, prompt_tokens, deltas = await begin()
        said, finish, usage = await collect(deltas, prompt_tokens)
        choice = chat_choice(said.text, finish, citations)
        choice["message"] |= said.fields()
        return json_reply(envelope.whole([choice], usage))

    if not asked.stream:
        return await unless_gone(request, whole())
    citations, prompt_tokens, deltas = await unless_gone(request, begin())
    events = _events(envelope, citations, prompt_tokens, deltas)
    return EventStream(guarded(events, request), deltas)


def fingerprint(served: Served) -> str:
    """Which weights answered: equal fingerprints and seeds give equal answers."""
    adapter = f"-{served.adapter.revision[:12]}" if served.adapter is not None else ""
    return f"fp_{served.base.revision[:12]}{adapter}"


async def collect(deltas: AsyncIterator[Delta], prompt_tokens: int) -> tuple[Gathered, str, Usage]:
    """(what was said, finish reason, usage) of a whole generation.

    Raises:
        EngineUnavailable: it was cut short by the engine.
    """
    said, usage, finish = Gathered(), Usage(prompt_tokens), "stop"
    async for delta in deltas:
        said.add(delta)
        usage = _counted(usage, delta)
        finish = finish_of(delta) or finish
    return said, finish, usage


def _counted(usage: Usage, delta: Delta) -> Usage:
    return Usage(
        usage.prompt_tokens,
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
    envelope: Envelope, citations: tuple[Citation, ...], prompt_tokens: int, deltas: Ahead[Delta]
) -> AsyncGenerator[bytes]:
    usage = Usage(prompt_tokens)
    yield envelope.chunk(chat_piece(chat_opening(citations)))
    async for delta in deltas:
        usage = _counted(usage, delta)
        if delta.reasoning:
            yield envelope.chunk(chat_piece({"reasoning_content": delta.reasoning}))
        if delta.text:
            yield envelope.chunk(chat_piece({"content": delta.text}))
        for call in call_deltas(delta.calls):  # one a chunk: some clients read only the first
            yield envelope.chunk(chat_piece({"tool_calls": [call]}))
        if finish := finish_of(delta):
            yield envelope.chunk(chat_piece({}, finish))
    if envelope.with_usage:
        yield envelope.last(usage)
    yield DONE
