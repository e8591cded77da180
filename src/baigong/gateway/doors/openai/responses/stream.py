"""An answer as the events of a response, in the order in which OpenAI's clients expect them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any

from baigong.gateway.doors.openai.chat import counted, finish_of
from baigong.gateway.doors.openai.responses.requests import RESULTS, ResponseRequest
from baigong.gateway.doors.openai.vector_stores.search import Found
from baigong.types import CallDelta, Delta, Usage

Event = dict[str, Any]
_MARK = re.compile(r"\[(\d{1,3})\]")


class Searched:
    """What was looked up before the answer."""

    def __init__(self, queries: Sequence[str], found: Sequence[Found]) -> None:
        self.queries = queries
        self.found = found

    def item(self, *, with_results: bool) -> dict[str, Any]:
        """The whole output item."""
        results = [
            {
                "file_id": one.file_id,
                "filename": one.filename,
                "score": one.score,
                "attributes": one.attributes,
                "text": one.passage.text,
            }
            for one in self.found
        ]
        return {
            "id": f"fs_{secrets.token_hex(12)}",
            "type": "file_search_call",
            "status": "completed",
            "queries": list(self.queries),
            "results": results if with_results else None,
        }

    def annotations(self, text: str) -> list[dict[str, Any]]:
        """Where the text names its passages as [1], these files; else all that it was shown."""
        marks = [(int(mark[1]), mark.start()) for mark in _MARK.finditer(text)]
        cited = [(n, at) for n, at in marks if 0 < n <= len(self.found)]
        if not marks:
            first = {one.file_id: n for n, one in reversed(list(enumerate(self.found, 1)))}
            cited = [(n, len(text)) for n in sorted(first.values())]
        return [
            {
                "type": "file_citation",
                "index": at,
                "file_id": self.found[n - 1].file_id,
                "filename": self.found[n - 1].filename,
            }
            for n, at in cited
        ]


class ResponseStream:
    """Makes events of deltas. The last event's `response` is the whole."""

    def __init__(self, asked: ResponseRequest, searched: Searched | None) -> None:
        self._asked = asked
        self._searched = searched
        self._output: list[dict[str, Any]] = []
        self._open: _Text | None = None
        self._calls: dict[int, int] = {}  # of the answer's calls, where in the output they are
        self._number = 0
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created = int(time.time())

    async def events(
        self, deltas: AsyncIterator[Delta], prompt_tokens: int
    ) -> AsyncGenerator[Event]:
        """
        Raises:
            EngineUnavailable: the engine stopped in the middle.
        """
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._response("in_progress"))
        for event in self._search():
            yield event
        usage, finish = Usage(prompt_tokens), "stop"
        async for delta in deltas:
            usage, finish = counted(usage, delta), finish_of(delta) or finish
            for event in self._of_delta(delta):
                yield event
        for event in self._end():
            yield event
        is_cut = finish == "length"
        status = "incomplete" if is_cut else "completed"
        response = self._response(status, usage, "max_output_tokens" if is_cut else None)
        yield self._event(f"response.{status}", response=response)

    def error(self, message: str, code: str, param: str | None) -> Event:
        """The event that ends a stream which failed."""
        return self._event("error", code=code, message=message, param=param)

    def _event(self, kind: str, **fields: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _search(self) -> Iterator[Event]:
        if self._searched is None:
            return
        item = self._searched.item(with_results=RESULTS in (self._asked.include or ()))
        begun = {**item, "status": "in_progress", "results": None}
        place = {"output_index": len(self._output), "item_id": item["id"]}
        yield self._added(begun)
        for kind in ("in_progress", "searching", "completed"):
            yield self._event(f"response.file_search_call.{kind}", **place)
        yield self._done(item)

    def _of_delta(self, delta: Delta) -> Iterator[Event]:
        for kind, text in (("reasoning", delta.reasoning), ("message", delta.text)):
            if text:
                yield from self._said(kind, text)
        for call in delta.calls:
            yield from self._called(call)

    def _said(self, kind: str, text: str) -> Iterator[Event]:
        if self._open is None or self._open.kind != kind:
            yield from self._close()
            self._open = _Text(kind, len(self._output))
            yield self._added(self._open.item("in_progress", []))
            if kind == "message":
                part = self._open.part([])
                yield self._event("response.content_part.added", **self._open.place, part=part)
        self._open.texts.append(text)
        if kind == "message":
            said = self._event("response.output_text.delta", delta=text, logprobs=[])
        else:
            said = self._event("response.reasoning_text.delta", delta=text)
        yield {**said, **self._open.place}

    def _called(self, call: CallDelta) -> Iterator[Event]:
        if call.name is not None:
            yield from self._close()
            yield from self._close_calls()
            self._calls[call.index] = len(self._output)
            yield self._added({
                "id": f"fc_{secrets.token_hex(12)}",
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": "",
                "status": "in_progress",
            })
        if call.arguments:
            index = self._calls[call.index]
            item = self._output[index]
            item["arguments"] += call.arguments
            place = {"item_id": item["id"], "output_index": index}
            yield self._event(
                "response.function_call_arguments.delta", **place, delta=call.arguments
            )

    def _close(self) -> Iterator[Event]:
        """End the text that is open."""
        text, self._open = self._open, None
        if text is None:
            return
        whole = text.whole
        if text.kind == "reasoning":
            yield self._event("response.reasoning_text.done", **text.place, text=whole)
            yield self._done(text.item("completed", [{"type": "reasoning_text", "text": whole}]))
            return
        annotations = [] if self._searched is None else self._searched.annotations(whole)
        for number, annotation in enumerate(annotations):
            yield self._event(
                "response.output_text.annotation.added",
                **text.place,
                annotation_index=number,
                annotation=annotation,
            )
        part = text.part(annotations)
        yield self._event("response.output_text.done", **text.place, text=whole, logprobs=[])
        yield self._event("response.content_part.done", **text.place, part=part)
        yield self._done(text.item("completed", [part]))

    def _close_calls(self) -> Iterator[Event]:
        for index in self._calls.values():
            if self._output[index]["status"] == "completed":
                continue
            item = {**self._output[index], "status": "completed"}
            yield self._event(
                "response.function_call_arguments.done",
                item_id=item["id"],
                output_index=index,
                name=item["name"],
                arguments=item["arguments"],
            )
            yield self._done(item, index)

    def _end(self) -> Iterator[Event]:
        if self._open is None and not self._calls:  # an answer that is empty is one
            yield from self._said("message", "")
        yield from self._close()
        yield from self._close_calls()

    def _added(self, item: dict[str, Any]) -> Event:
        index = len(self._output)
        self._output.append(item)
        return self._event("response.output_item.added", output_index=index, item=dict(item))

    def _done(self, item: dict[str, Any], index: int = -1) -> Event:
        """The item that was added last, or the one at `index`, is whole."""
        self._output[index] = item
        place = len(self._output) - 1 if index < 0 else index
        return self._event("response.output_item.done", output_index=place, item=item)

    def _response(
        self, status: str, usage: Usage | None = None, cut: str | None = None
    ) -> dict[str, Any]:
        asked = self._asked
        ended = int(time.time()) if status == "completed" else None
        form = (
            {"type": "text"}
            if asked.text is None or asked.text.format is None
            else asked.text.format
        )
        found = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": ended,
            "status": status,
            "model": asked.model,
            "output": list(self._output),
            "error": None,
            "incomplete_details": None if cut is None else {"reason": cut},
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": form},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": asked.top_p,
            "truncation": "disabled",
        }
        return found if usage is None else {**found, "usage": _usage(usage)}


class _Text:
    """A message, or thoughts, while it is being said."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.texts: list[str] = []
        self._id = f"{'msg' if kind == 'message' else 'rs'}_{secrets.token_hex(12)}"
        self.place = {"item_id": self._id, "output_index": index, "content_index": 0}

    @property
    def whole(self) -> str:
        return "".join(self.texts)

    def item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        if self.kind == "reasoning":
            more = {"type": "reasoning", "summary": [], "content": content}
        else:
            more = {"type": "message", "role": "assistant", "content": content}
        return {"id": self._id, "status": status, **more}

    def part(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        said = {"text": self.whole, "annotations": annotations, "logprobs": []}
        return {"type": "output_text", **said}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
