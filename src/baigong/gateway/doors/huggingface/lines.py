"""Newline-delimited JSON in a request's body, taken line by line as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from baigong.gateway.replies import TooLarge

_LONGEST_LINE = 32 << 20  # a file of 10 MB in base64, and much room
_LONGEST = 4 << 30


async def lines_of(request: Request) -> AsyncIterator[list[bytes]]:
    """The lines that are not empty, as many at once as have come.

    Raises:
        TooLarge: one is, or all are.
    """
    pending = bytearray()
    size = 0
    async for piece in request.stream():
        size += len(piece)
        first, *rest = piece.split(b"\n")
        pending += first
        if size > _LONGEST or len(pending) > _LONGEST_LINE:
            raise TooLarge(
                f"A line is longer than {_LONGEST_LINE} bytes, or all are than {_LONGEST}.",
                hint="Send large files by LFS, or in several commits.",
            )
        if rest:
            whole = [bytes(pending), *rest[:-1]]
            pending = bytearray(rest[-1])
            yield [line for line in whole if line.strip()]
    if pending.strip():
        yield [bytes(pending)]
