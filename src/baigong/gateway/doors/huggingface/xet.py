"""Xet's storage, as far as uploads need it; downloads go the plain way.

A client asks for a token, sends xorbs with what it does not believe to be here, and shards that
make files of them. It remembers what it has sent by the address that it was given: the address of
a namespace changes when something of it was lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import mmap
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any
from weakref import WeakValueDictionary

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import BaigongError, InvalidInput, NotFound, Unauthorized
from baigong.gateway.auth import header_credential
from baigong.gateway.blobs import receive
from baigong.gateway.doors.huggingface.tickets import Ticket, Tickets, expiry, namespace_for
from baigong.gateway.doors.huggingface.wire import door
from baigong.gateway.endpoints import answering
from baigong.gateway.replies import json_reply
from baigong.hub.access import NotYours
from baigong.hub.names import fold
from baigong.hub.xet import shard, xorb

_HASH = re.compile(r"[0-9a-f]{64}")
_TOLD_EVERY_S = 10.0
_WAIT_S = 5.0  # in which a fast network brings several xorbs
_TELEMETRY_BYTES = 1 << 20


class XetApi:
    """Its addresses: `/hf/-/xet/GENERATION/NAMESPACE/...`."""

    def __init__(self, platform: Platform) -> None:
        self._hub = platform.hub
        self._tickets = Tickets(platform.secret)
        self._generations = platform.secret.derive("generations of xorbs")
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()

    def routes(self) -> list[Route]:
        token = "/api/{kind:kind}/{owner}/{name}/xet-write-token/{revision:rest}"
        store = "/-/xet/{generation}/{namespace:part}"
        return [
            Route(token, answering(self.token), methods=["GET"]),
            Route(store + "/v1/xorbs/{prefix}/{hash}", self.xorb, methods=["POST"]),
            Route(store + "/v1/shards", self.shard, methods=["POST"]),
            Route(store + "/v2/shards", self.shard_telling, methods=["POST"]),
            Route(store + "/v1/telemetry", self.telemetry, methods=["POST"]),
            # Not asked for: other chunks that are here, and places to send xorbs to elsewhere.
            Route(store + "/v1/chunks/{prefix}/{hash}", self.nothing, methods=["GET"]),
            Route(store + "/v1/xorb-grants/{prefix}/{hash}", self.nothing, methods=["POST"]),
            # Nobody has asked for a key here, so no other address may be below.
            Route("/-/{path:rest}", self.nothing, methods=["GET", "POST", "PUT", "DELETE"]),
        ]

    def token(self, request: Request) -> Response:
        """Leave to send, and where to. Blocks."""
        namespace = namespace_for(self._hub, request, request.path_params["revision"])
        user = request.state.principal.actor.user
        ticket = Ticket("xet", namespace, user, expiry("xet"))
        url = f"{door(request)}/-/xet/{self._generation(namespace)}/{namespace}"
        token = self._tickets.write(ticket)
        headers = {
            "x-xet-cas-url": url,
            "x-xet-access-token": token,
            "x-xet-token-expiration": str(ticket.expires),
        }
        content = {"casUrl": url, "exp": ticket.expires, "accessToken": token}
        return json_reply(content, headers=headers)

    async def xorb(self, request: Request) -> Response:
        ticket, hash = self._ticket(request), request.path_params["hash"]
        if not _HASH.fullmatch(hash):
            raise InvalidInput(f"'{hash[:80]}' is not the hash of a xorb.", param="hash")
        session = request.headers.get("x-xet-session-id", "")
        client = f"{ticket.user} {session[:100]}"
        async with self._in_line(client):
            with self._hub.xorbs.receive(ticket.namespace, hash, client) as arriving:
                await receive(request, arriving, xorb.MOST_PACKED)
                is_new = await asyncio.to_thread(arriving.finish)
        return json_reply({"was_inserted": is_new})

    async def shard(self, request: Request) -> Response:
        """Answers when the files are made."""
        ticket = self._ticket(request)
        file = await _received(request)
        made = await asyncio.to_thread(self._build, ticket.namespace, file, [0, 0])
        return json_reply({"result": 1 if made else 0})

    async def shard_telling(self, request: Request) -> Response:
        """Tells line by line how far it is, and what went wrong."""
        ticket = self._ticket(request)
        file = await _received(request)
        return StreamingResponse(self._told(ticket, file), media_type="application/x-ndjson")

    async def telemetry(self, request: Request) -> Response:
        """Nobody reads it."""
        self._ticket(request)
        await receive(request, _Nowhere(), _TELEMETRY_BYTES)
        return json_reply({})

    async def nothing(self, request: Request) -> Response:
        raise NotFound(f"There is nothing at {request.url.path[:200]}.")

    async def _told(self, ticket: Ticket, file: IO[bytes]) -> AsyncIterator[bytes]:
        progress = [0, 0]

        def outcome() -> bytes:
            try:
                self._build(ticket.namespace, file, progress)
            except BaigongError as error:
                return _line(type="error", message=str(error), retryable=error.retryable)
            return _line(type="result")

        work = asyncio.create_task(asyncio.to_thread(outcome))
        # A client that goes away leaves the work to its end: it will ask for it again.
        while not (await asyncio.wait({work}, timeout=_TOLD_EVERY_S))[0]:
            yield _line(type="validating", verified=progress[0], total=progress[1])
        yield work.result()

    def _build(self, namespace: str, file: IO[bytes], progress: list[int]) -> list[str]:
        def tell(done: int, total: int) -> None:
            progress[:] = done, total

        with file:
            if not file.tell():
                raise InvalidInput("The shard is empty.", param="shard")
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return self._hub.xorbs.build(namespace, content, tell)

    def _ticket(self, request: Request) -> Ticket:
        """
        Raises:
            Unauthorized: there is no valid one.
            NotYours: it is for another namespace.
        """
        token = header_credential(request.headers)
        if token is None:
            raise Unauthorized("The request has no token.", hint="Start the upload again.")
        ticket = self._tickets.read(token, "xet")
        if fold(ticket.namespace) != fold(request.path_params["namespace"]):
            raise NotYours(f"The token is for uploads to '{ticket.namespace}' alone.")
        return ticket

    @asynccontextmanager
    async def _in_line(self, client: str) -> AsyncIterator[None]:
        """Take a client's xorbs one by one, in their order, as long as that keeps none waiting for
        long: then the file need not be put together afterwards."""
        line = self._lines.setdefault(client, _Line())
        mine = asyncio.get_running_loop().create_future()
        before, line.last = line.last, mine
        try:
            while before is not None and not before.done() and not line.is_slow:
                taken = line.taken
                await asyncio.wait({before}, timeout=_WAIT_S)
                line.is_slow |= line.taken == taken
            yield
        finally:
            line.taken += 1
            mine.set_result(None)

    def _generation(self, namespace: str) -> str:
        """Another for each installation, and after each loss."""
        name = f"{fold(namespace)} {self._hub.xorbs.losses(namespace)}"
        return hmac.digest(self._generations, name.encode(), hashlib.sha256).hex()[:16]


class _Line:
    """The xorbs of a client that are on their way in: when the last is, and how many were taken."""

    def __init__(self) -> None:
        self.last: asyncio.Future[None] | None = None
        self.taken = 0
        self.is_slow = False


class _Nowhere:
    def writelines(self, pieces: list[bytes], /) -> None:
        """Let them go."""


async def _received(request: Request) -> IO[bytes]:
    """A shard in a file, for it may have a hundred megabytes."""
    file = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        await receive(request, file, shard.MOST_BYTES)
    except BaseException:
        file.close()
        raise
    return file


def _line(**content: Any) -> bytes:
    return msgspec.json.encode(content) + b"\n"
