"""Blobs to and from clients: whole or in ranges, never more than some megabytes in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from baigong.errors import InvalidInput
from baigong.gateway.streams import ClientGone
from baigong.store.room import room_for

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_WRITE_BYTES = 2 << 20  # what is gathered before it goes to the disk


class Sink(Protocol):
    """What takes a body piece by piece, in a thread."""

    def writelines(self, pieces: list[bytes], /) -> object:
        """Take the next pieces."""


Pieces = Callable[[int, int], Iterator[bytes]]
"""Bytes start:stop of a file, piece by piece; blocks."""


def blob_reply(request: Request, pieces: Pieces, size: int, headers: Mapping[str, str]) -> Response:
    """A file as a response to GET or HEAD, by RFC 9110: a range where one is asked for.

    Args:
        request: may carry `Range` of one range, and `If-Range`.
        pieces: what reads it.
        size: its bytes.
        headers: to send with it, `etag` among them.
    """
    start, stop, status = _range(request, size, headers.get("etag", ""))
    sent = {"accept-ranges": "bytes", "content-type": "application/octet-stream", **headers}
    if status == 416:
        return Response(None, 416, {**sent, "content-range": f"bytes */{size}"})
    sent["content-length"] = str(stop - start)
    if status == 206:
        sent["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.method == "HEAD":
        return Response(None, status, sent)
    return StreamingResponse(_stream(pieces, start, stop), status, sent)


async def receive(request: Request, sink: Sink, most: int) -> None:
    """Write a request's body to what takes it: a piece is written while the next one comes.

    Raises:
        ClientGone: the client hung up.
        InvalidInput: it is longer than `most` bytes.
        StorageFull: there is no room for it.
    """
    parts: list[bytes] = []
    size = gathered = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise InvalidInput(f"The body is longer than {most} bytes, as it was announced.")
            parts.append(part)
            gathered += len(part)
            if gathered >= _WRITE_BYTES:
                if writing is not None:
                    await writing
                writing = _write(sink, parts)
                parts, gathered = [], 0
        if writing is not None:
            await writing
        if parts:
            await _write(sink, parts)
    except ClientDisconnect as error:
        raise ClientGone from error
    finally:
        if writing is not None:
            await asyncio.wait({writing})  # the sink is closed next


def _write(sink: Sink, parts: list[bytes]) -> asyncio.Task[None]:
    def write() -> None:
        with room_for("what is sent"):
            sink.writelines(parts)

    return asyncio.create_task(asyncio.to_thread(write))


async def _stream(pieces: Pieces, start: int, stop: int) -> AsyncIterator[bytes]:
    found = await asyncio.to_thread(pieces, start, stop)
    while piece := await asyncio.to_thread(next, found, b""):
        yield piece


def _range(request: Request, size: int, etag: str) -> tuple[int, int, int]:
    """First and last byte + 1, and the status: 200, 206 or 416."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or not any(match.groups()) or request.headers.get("if-range", etag) != etag:
        return 0, size, 200
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size, 206 if int(last) else 416
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    return start, stop, 206 if start < stop else 416
