"""`/api/chat` and `/api/generate`: answers, whole or as lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong.app import Platform
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.ollama.requests import (
    Asked,
    ChatAsked,
    GenerateAsked,
    Turn,
    conversation,
)
from baigong.gateway.doors.ollama.wire import Lines, called, guarded, line
from baigong.gateway.doors.openai.chat import counted, finish_of
from baigong.gateway.doors.openai.formats import naming
from baigong.gateway.doors.openai.models import open_chat
from baigong.gateway.doors.openai.tools import ToolItem, tool_use
from baigong.gateway.endpoints import actor_of, when
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import Ahead, unless_gone
from baigong.industry.foreign import Answer, Foreign
from baigong.industry.serving import Served
from baigong.types import CallDelta, Delta, Scored, Usage

_BYTES = 32 << 20  # of a request, pictures in it


class AnswersApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def chat(self, request: Request) -> Response:
        """Answer a conversation; without turns, load the model."""
        asked = convert(await read_object(request, _BYTES), ChatAsked)
        return await self._answer(request, asked, asked.messages, asked.tools or [], _as_message)

    async def generate(self, request: Request) -> Response:
        """Answer a prompt; without one, load the model."""
        asked = convert(await read_object(request, _BYTES), GenerateAsked)
        turns = asked.turns() if asked.prompt or asked.images else []
        return await self._answer(request, asked, turns, [], _as_response)

    async def _answer(
        self,
        request: Request,
        asked: Asked,
        turns: list[Turn],
        tools: list[ToolItem],
        show: Callable[[str, str, list[Any]], dict[str, Any]],
    ) -> Response:
        name = await asyncio.to_thread(called, self._platform, asked.model, actor_of(request))
        served = await open_chat(self._platform.serving, name)
        telling = _Telling(asked.model, show, told_logprobs=bool(asked.logprobs))
        if not turns:
            return await self._load(request, asked, served, telling)

        async def begin() -> tuple[int, Ahead[Delta]]:
            answer = await _begun(served, asked, turns, tools)
            ahead = Ahead(answer.deltas)
            await naming("format", ahead.peek())  # what fails at once has a status yet
            return answer.prompt_tokens, ahead

        async def whole() -> Response:
            prompt_tokens, deltas = await begin()
            return json_reply(await telling.whole(deltas, prompt_tokens))

        if asked.stream is False:
            return await unless_gone(request, whole())
        prompt_tokens, deltas = await unless_gone(request, begin())
        return Lines(guarded(telling.lines(deltas, prompt_tokens), request), deltas)

    async def _load(
        self, request: Request, asked: Asked, served: Served | Foreign, telling: _Telling
    ) -> Response:
        """Nothing was asked: the model comes into memory. It leaves it by itself."""
        if isinstance(served, Served) and not asked.unloads:
            await unless_gone(request, served.warm())
        reason = "unload" if asked.unloads else "load"
        return json_reply(telling.piece("") | {"done": True, "done_reason": reason})


async def _begun(
    served: Served | Foreign, asked: Asked, turns: list[Turn], tools: list[ToolItem]
) -> Answer:
    sampling = asked.sampling(served.defaults, is_bounded=_says_length(served))
    if isinstance(asked, GenerateAsked) and asked.raw and isinstance(served, Served):
        return await asyncio.to_thread(served.complete, asked.prompt, sampling)
    messages = conversation(turns, looks=isinstance(served, Served) and served.words is None)
    options = served.effort(asked.effort) if asked.effort is not None else {}
    return await served.answer(
        messages, sampling, tools=tool_use(tools, None, None), options=options
    )


def _says_length(served: Served | Foreign) -> bool:
    """Whether something else than the context says how long an answer may be."""
    if isinstance(served, Foreign) or served.content is not None:
        return True
    return served.preset is not None and "max_tokens" in served.preset.sampling


def _as_message(text: str, thinking: str, calls: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def _as_response(text: str, thinking: str, _calls: list[Any]) -> dict[str, Any]:
    return {"response": text, **({"thinking": thinking} if thinking else {})}


@dataclass(slots=True)
class _Telling:
    """One answer in the client's words."""

    model: str
    show: Callable[[str, str, list[Any]], dict[str, Any]]
    told_logprobs: bool = False
    began: int = field(default_factory=time.perf_counter_ns)
    first: int = 0  # when the prompt was read

    def piece(
        self, text: str, thinking: str = "", calls: list[Any] | None = None
    ) -> dict[str, Any]:
        head = {"model": self.model, "created_at": when(time.time())}
        return {**head, **self.show(text, thinking, calls or []), "done": False}

    async def lines(self, deltas: Ahead[Delta], prompt_tokens: int) -> AsyncGenerator[bytes]:
        """Each piece as it comes; calls when they are whole."""
        usage, calls, reason = Usage(prompt_tokens), _Calls(), "stop"
        async for delta in deltas:
            self.first = self.first or time.perf_counter_ns()
            usage, reason = counted(usage, delta), finish_of(delta) or reason
            calls.add(delta.calls)
            if delta.text or delta.reasoning or delta.scored:
                yield line(self.piece(delta.text, delta.reasoning) | self._scored(delta.scored))
        if found := calls.objects():
            yield line(self.piece("", calls=found))
        yield line(self.piece("") | self._end(reason, usage))

    async def whole(self, deltas: Ahead[Delta], prompt_tokens: int) -> dict[str, Any]:
        """All of it at once."""
        usage, calls, reason = Usage(prompt_tokens), _Calls(), "stop"
        texts, thoughts = [], []
        scored: list[Scored] = []
        try:
            async for delta in deltas:
                self.first = self.first or time.perf_counter_ns()
                usage, reason = counted(usage, delta), finish_of(delta) or reason
                calls.add(delta.calls)
                texts.append(delta.text)
                thoughts.append(delta.reasoning)
                scored += delta.scored
        finally:
            await deltas.aclose()
        piece = self.piece("".join(texts), "".join(thoughts), calls.objects())
        return piece | self._scored(scored) | self._end(reason, usage)

    def _scored(self, scored: Sequence[Scored]) -> dict[str, Any]:
        return {"logprobs": [_logprob(one) for one in scored]} if self.told_logprobs else {}

    def _end(self, reason: str, usage: Usage) -> dict[str, Any]:
        now = time.perf_counter_ns()
        first = self.first or now
        return {
            "done": True,
            "done_reason": "length" if reason == "length" else "stop",
            "total_duration": now - self.began,
            "load_duration": 0,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": first - self.began,
            "eval_count": usage.completion_tokens,
            "eval_duration": now - first,
        }


class _Calls:
    """Calls, put together from their pieces."""

    def __init__(self) -> None:
        self._found: list[tuple[CallDelta, list[str]]] = []

    def add(self, pieces: tuple[CallDelta, ...]) -> None:
        for piece in pieces:
            if piece.name is not None:
                self._found.append((piece, []))
            self._found[piece.index][1].append(piece.arguments)

    def objects(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "function": {"name": call.name, "arguments": _arguments("".join(parts))},
            }
            for call, parts in self._found
        ]


def _arguments(text: str) -> dict[str, Any]:
    """An object, as the client demands; what the model wrote otherwise stands in one."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = text
    return found if isinstance(found, dict) else {"arguments": found}


def _logprob(one: Scored) -> dict[str, Any]:
    top = [{"token": each.text, "logprob": each.logprob} for each in one.likeliest]
    return {"token": one.text, "logprob": one.logprob, "top_logprobs": top}
