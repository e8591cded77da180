"""Documents as callers push them: one in a JSON object, or a line of NDJSON for each."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from baigong.errors import BaigongError, InvalidInput
from baigong.gateway.bodies import LIMIT_BYTES, convert
from baigong.gateway.replies import TooLarge, crash_error, error_object, log_crash
from baigong.knowledge.batch import PushedDocument
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.where import Scalar

_AT_ONCE = 256  # lines of a stream that are on their way
_AT_ONCE_BYTES = 32 << 20
_UNREAD = 100_000  # answers that wait for a client which sends all before it reads any

Time = float | str


class Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document in JSON: one of `text`, `markdown`, `html` and `data`, bytes in base64 of the kind
    that `suffix` says. In a stream `delete` takes out what was pushed under the path."""

    path: Annotated[str, Meta(min_length=1, max_length=1000)]
    text: str | None = None
    markdown: str | None = None
    html: str | None = None
    data: str | None = None
    suffix: str | None = None
    title: Annotated[str, Meta(max_length=1000)] | None = None
    url: Annotated[str, Meta(max_length=4000)] | None = None
    metadata: dict[str, Scalar] = {}
    access: tuple[str, ...] | None = None
    published_at: Time | None = None
    expires_at: Time | None = None
    delete: bool = False

    def document(self) -> PushedDocument:
        """
        Raises:
            InvalidInput: it holds no content, or several.
        """
        data, suffix = self._content()
        return PushedDocument(
            self.path,
            Content(
                data,
                suffix=suffix,
                url=self.url,
                title=self.title,
                metadata=self.metadata,
                access=self.access,
                published_at=seconds(self.published_at, "published_at"),
                expires_at=seconds(self.expires_at, "expires_at"),
            ),
        )

    def _content(self) -> tuple[bytes, str | None]:
        texts = ((self.text, ".txt"), (self.markdown, ".md"), (self.html, ".html"))
        given = [(_utf8(text), suffix) for text, suffix in texts if text is not None]
        if len(given) + (self.data is not None) != 1:
            raise InvalidInput(
                f"The document '{self.path[:80]}' has {len(given)} contents.",
                hint="Send one of text, markdown, html, and data with a suffix.",
                param="text",
            )
        if self.data is None:
            return given[0]
        try:
            return base64.b64decode(self.data, validate=True), self.suffix
        except binascii.Error as error:
            raise InvalidInput(f"data is not base64: {error}.", param="data") from error


def seconds(time: Time | None, field: str) -> float | None:
    """Seconds since the epoch, of these or of ISO 8601; without a zone it is UTC.

    Raises:
        InvalidInput: it is neither.
    """
    if time is None or isinstance(time, float):
        return time
    try:
        found = datetime.fromisoformat(time)
    except ValueError as error:
        raise InvalidInput(
            f"{field}: '{time[:80]}' is no time.",
            hint="Send seconds since 1970, or such as 2026-11-25T09:30:00Z.",
            param=field,
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


class LineReplies(Response):
    """Reads the lines of a request while it answers them: a line of JSON for each, in their order."""

    def __init__(self, request: Request, work: Callable[[Sent], Awaitable[dict[str, Any]]]) -> None:
        super().__init__(headers={"content-type": "application/x-ndjson"})
        del self.headers["content-length"]
        self._request = request
        self._work = work
        self._answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_UNREAD)
        self._count = self._bytes = 0  # of lines that are on their way
        self._freed = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.create_task(self._read())
        try:
            await self._write(send)
            await reading
        except ClientDisconnect:
            return
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self) -> None:
        number = 0
        try:
            async for line in lines(self._request):
                number += 1
                if line.strip():
                    await self._begin(len(line), self._answer(number, line))
        except TooLarge as error:
            await self._begin(0, self._told(number + 1, error))
        finally:
            # Without waiting: whoever empties the queue may be gone.
            self._ending = asyncio.create_task(self._answers.put(None))

    async def _begin(self, size: int, answer: Coroutine[Any, Any, bytes]) -> None:
        while self._count and (self._count >= _AT_ONCE or self._bytes + size > _AT_ONCE_BYTES):
            self._freed.clear()
            await self._freed.wait()
        self._count += 1
        self._bytes += size

        def leave(_task: object) -> None:
            self._count -= 1
            self._bytes -= size
            self._freed.set()

        task = asyncio.create_task(answer)
        task.add_done_callback(leave)
        await self._answers.put(task)

    async def _answer(self, number: int, line: bytes) -> bytes:
        try:
            return _line({"line": number, **await self._work(read_line(line))})
        except BaigongError as error:
            return await self._told(number, error)

    async def _told(self, number: int, error: BaigongError) -> bytes:
        return _line({"line": number, **error_object(error)})

    async def _write(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        while (task := await self._answers.get()) is not None:
            await asyncio.wait({task})
            error = task.exception()
            if error is not None:
                log_crash(self._request, error)
            body = (
                task.result() if error is None else _line(error_object(crash_error(self._request)))
            )
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def lines(request: Request, limit_bytes: int = LIMIT_BYTES) -> AsyncGenerator[bytes]:
    """The lines of a body, one in memory at a time.

    Raises:
        TooLarge: one is longer than `limit_bytes`.
    """
    rest = bytearray()
    async for part in request.stream():
        rest += part
        if b"\n" in part:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                yield line
        if len(rest) > limit_bytes:
            raise TooLarge(
                f"The line is longer than {limit_bytes} bytes, and so the last that was read.",
                hint="Send less in one document.",
            )
    yield bytes(rest)


def read_line(line: bytes) -> Sent:
    """
    Raises:
        InvalidInput: the line holds no document.
    """
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The line is not valid JSON: {error}.", hint="Mend it.") from error
    if not isinstance(found, dict):
        raise InvalidInput("The line must be a JSON object.", hint="Send {...}.")
    return convert(found, Sent)


def _line(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def _utf8(text: str) -> bytes:
    """JSON can hold lone surrogates, which UTF-8 cannot."""
    return text.encode("utf-8", "replace")
