"""Streams that end when their reader goes away: closing the source frees the engine's slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

T = TypeVar("T")

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would hold the tokens back
}


class ClientGone(Exception):
    """The client hung up before its answer was ready; nobody is there to tell."""


async def on_client_gone(_request: Request, _error: Exception) -> Response:
    """Starlette's handler; 499 is nginx's number for it."""
    return Response(status_code=499)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up.

    Raises:
        ClientGone: it did.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        await _cancel(task)
        await _cancel(watch)


class Ahead(Generic[T]):
    """An iterator that can look one item ahead, so that what fails at once fails before the
    first byte is sent. Closing it closes its source, also before the first item is taken."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._head: list[T] = []

    async def peek(self) -> None:
        """Wait for the first item."""
        with suppress(StopAsyncIteration):
            self._head.append(await anext(self._source))

    def __aiter__(self) -> Ahead[T]:
        return self

    async def __anext__(self) -> T:
        return self._head.pop() if self._head else await anext(self._source)

    async def aclose(self) -> None:
        """Give up what is left."""
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()


class EventStream(Response):
    """Server-sent events: sends each piece as it comes, and closes `source` when all is over."""

    def __init__(self, events: AsyncGenerator[bytes], source: Ahead[Any] | Many[Any]) -> None:
        super().__init__(headers=HEADERS)
        self._events = events
        self._source = source
        del self.headers["content-length"]

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = asyncio.ensure_future(self._write(send))
        watch = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({writer, watch}, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
        finally:
            await _cancel(writer)
            await _cancel(watch)
            await self._source.aclose()

    async def _write(self, send: Send) -> None:
        await send({
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        })
        try:
            async with aclosing(self._events) as events:
                async for piece in events:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception:  # the error is in the stream already; the log needs the traceback
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise
        # When cancelled there is no last chunk, so that a client sees that the stream was cut.
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


class Many(Generic[T]):
    """Several sources read side by side, as (which, item) in the order in which items come."""

    def __init__(self, sources: Sequence[AsyncIterator[T]]) -> None:
        self._sources = [Ahead(source) for source in sources]

    async def peek(self) -> None:
        """Wait for the first item of each; if one fails the others are given up."""
        tasks = [asyncio.ensure_future(source.peek()) for source in self._sources]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                await _cancel(task)

    async def items(self) -> AsyncGenerator[tuple[int, T]]:
        """Every item of every source."""
        if len(self._sources) == 1:  # nothing to choose between
            async for item in self._sources[0]:
                yield 0, item
            return
        waiting = {asyncio.ensure_future(_next(s)): i for i, s in enumerate(self._sources)}
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    which, found = waiting.pop(task), task.result()
                    if found:
                        waiting[asyncio.ensure_future(_next(self._sources[which]))] = which
                        yield which, found[0]
        finally:
            for task in waiting:
                await _cancel(task)

    async def aclose(self) -> None:
        """Give up what is left of all of them."""
        for source in self._sources:
            await source.aclose()


async def _next(source: Ahead[T]) -> tuple[T, ...]:
    """The next item in a tuple, or an empty one at the end."""
    async for item in source:
        return (item,)
    return ()
