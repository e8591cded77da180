"""What doors to the hub share: who calls, and how what blocks becomes an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import Unauthorized
from baigong.gateway.bodies import LIMIT_BYTES, convert, read_object
from baigong.gateway.replies import json_reply
from baigong.hub.access import Actor

T = TypeVar("T")

Endpoint = Callable[[Request], Awaitable[Response]]


def actor_of(request: Request) -> Actor:
    """Who calls.

    Raises:
        Unauthorized: nobody knows: the address is one that is answered without a key.
    """
    if not hasattr(request.state, "principal"):
        raise Unauthorized("This server needs a key and the request has none.")
    actor: Actor = request.state.principal.actor
    return actor


def answering(handle: Callable[[Request], Any]) -> Endpoint:
    """An endpoint of what blocks; its content, where it is no response already, becomes JSON."""

    async def endpoint(request: Request) -> Response:
        return _reply(await asyncio.to_thread(handle, request))

    return endpoint


def taking(
    kind: type[T], handle: Callable[[Request, T], Any], limit_bytes: int = LIMIT_BYTES
) -> Endpoint:
    """The same of what takes a JSON object, as a struct."""

    async def endpoint(request: Request) -> Response:
        body = convert(await read_object(request, limit_bytes), kind)
        return _reply(await asyncio.to_thread(handle, request, body))

    return endpoint


def when(at: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _reply(content: Any) -> Response:
    return content if isinstance(content, Response) else json_reply(content)
