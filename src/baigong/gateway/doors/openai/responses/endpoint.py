"""`POST /v1/responses`: search what the request says, show it to the model, answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError
from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.formats import naming
from baigong.gateway.doors.openai.models import open_chat
from baigong.gateway.doors.openai.responses.requests import (
    FileSearch,
    ResponseRequest,
    parse_response,
)
from baigong.gateway.doors.openai.responses.stream import Event, ResponseStream, Searched
from baigong.gateway.doors.openai.vector_stores.search import Searcher
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import crash_error, json_reply, log_crash
from baigong.gateway.streams import Ahead, EventStream, unless_gone
from baigong.industry.foreign import Foreign
from baigong.industry.grounding import ground_prompt, inert, search_prompt
from baigong.industry.serving import Served, Serving
from baigong.types import Delta, Message, Passage


class ResponsesApi:
    """The endpoint."""

    def __init__(self, serving: Serving, search: Searcher) -> None:
        self._serving = serving
        self._search = search

    async def create(self, request: Request) -> Response:
        """Answer, whole or as a stream of events."""
        asked = parse_response(await read_object(request))
        stream, deltas, prompt_tokens = await unless_gone(
            request, self._begin(asked, actor_of(request).owner)
        )
        events = stream.events(deltas, prompt_tokens)
        if asked.stream:
            return EventStream(_written(events, stream, request), deltas)
        return json_reply(await unless_gone(request, _last(events, deltas)))

    async def _begin(
        self, asked: ResponseRequest, owner: str | None
    ) -> tuple[ResponseStream, Ahead[Delta], int]:
        """What fails at once has a status yet, so all of it happens before the first byte."""
        messages: Sequence[Message] = asked.conversation()
        use, tool = asked.functions(), asked.file_search()
        served = await open_chat(self._serving, asked.model)
        sampling = asked.sampling(served.defaults)
        effort = None if asked.reasoning is None else asked.reasoning.effort
        options = {} if effort is None else served.effort(effort)
        searched = None if tool is None else await self._searched(owner, tool, messages)
        if searched is not None and searched.found and messages[-1].role == "user":
            messages = _shown(messages, [one.passage for one in searched.found], served)
        answer = await served.answer(messages, sampling, tools=use, options=options)
        deltas = Ahead(answer.deltas)
        await naming("tools" if use.forced else "text.format", deltas.peek())
        return ResponseStream(asked, searched), deltas, answer.prompt_tokens

    async def _searched(
        self, owner: str | None, tool: FileSearch, messages: Sequence[Message]
    ) -> Searched | None:
        said = [message.content for message in messages if message.role == "user"]
        if not said:
            return None
        found = await self._search(
            owner,
            tool.vector_store_ids,
            said[-1:],
            tool.max_num_results,
            tool.filters,
            tool.threshold,
            tool.ranker,
            param="tools.filters",
        )
        return Searched(said[-1:], found)


def _shown(
    messages: Sequence[Message], passages: Sequence[Passage], served: Served | Foreign
) -> Sequence[Message]:
    """The messages with passages. A release was tuned to read them, others are told how."""
    if isinstance(served, Foreign):
        return search_prompt(messages, passages)
    passages = inert(passages, served.tokenizer)
    ground = search_prompt if served.content is None else ground_prompt
    return ground(messages, passages)


async def _last(events: AsyncGenerator[Event], deltas: Ahead[Delta]) -> dict[str, Any]:
    """The whole response."""
    last: Event = {}
    try:
        async for event in events:
            last = event
    finally:
        await deltas.aclose()
    response: dict[str, Any] = last["response"]
    return response


async def _written(
    events: AsyncGenerator[Event], stream: ResponseStream, request: Request
) -> AsyncGenerator[bytes]:
    """The events as they are sent, a failure told as the last of them."""
    try:
        async for event in events:
            yield _sent(event)
    except BaigongError as error:
        yield _sent(stream.error(str(error), error.code, error.param))
    except Exception:
        log_crash(request)
        crash = crash_error(request)
        yield _sent(stream.error(str(crash), crash.code, None))
        raise


def _sent(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))
