"""Large files as git-lfs sends them: for clients without Xet, and for files that are only a stream.

The batch says where to send what is not here: a file whole, or a large one in parts, each of which
may be sent again by itself. The addresses carry their own leave, since clients call them bare.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import BaigongError, InvalidInput, NotFound
from baigong.gateway.blobs import receive
from baigong.gateway.bodies import convert, read_bytes
from baigong.gateway.doors.huggingface.tickets import Ticket, Tickets, expiry, namespace_for
from baigong.gateway.doors.huggingface.wire import door

MOST_BYTES = 1 << 40
_WHOLE_BYTES = 96 << 20  # a file up to here is sent whole
_PART_BYTES = 32 << 20
_MOST_PARTS = 1000
_BODY_BYTES = 4 << 20
_MEDIA = "application/vnd.git-lfs+json"

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]


class Wanted(msgspec.Struct, frozen=True):
    """A file that a client wants to send."""

    oid: _Digest
    size: _Size


class Branch(msgspec.Struct, frozen=True):
    """Where it will be committed."""

    name: str = ""


class Batch(msgspec.Struct, frozen=True):
    """See git-lfs' docs/api/batch.md."""

    operation: Literal["upload"]
    objects: Annotated[list[Wanted], msgspec.Meta(max_length=1000)]
    transfers: list[str] = []
    ref: Branch | None = None


class LfsApi:
    """The batch beside each repository, and what it sends clients to under `/hf/-/lfs`."""

    def __init__(self, platform: Platform) -> None:
        self._hub = platform.hub
        self._tickets = Tickets(platform.secret)

    def routes(self) -> list[Route]:
        batch = "/{owner}/{name}.git/info/lfs/objects/batch"
        return [
            Route("/{kind:kind}" + batch, self.batch, methods=["POST"]),
            Route(batch, self.batch, methods=["POST"]),
            Route("/-/lfs/{ticket}", self.put, methods=["PUT"]),
            Route("/-/lfs/{ticket}", self.join, methods=["POST"]),
            Route("/-/lfs/{ticket}/verify", self.verify, methods=["POST"]),
            Route("/-/lfs/{ticket}/{part:int}", self.put_part, methods=["PUT"]),
        ]

    async def batch(self, request: Request) -> Response:
        batch = convert(await _object(request), Batch)
        revision = "" if batch.ref is None else batch.ref.name.removeprefix("refs/heads/")

        def answer() -> dict[str, Any]:
            namespace = namespace_for(self._hub, request, revision)
            is_parted = "multipart" in batch.transfers and any(map(_is_parted, batch.objects))
            objects = [self._offer(request, namespace, is_parted, one) for one in batch.objects]
            return {"transfer": "multipart" if is_parted else "basic", "objects": objects}

        return _reply(await asyncio.to_thread(answer))

    async def put(self, request: Request) -> Response:
        """A file whole."""
        ticket = self._ticket(request)
        with self._hub.blobs.receive() as incoming:
            await receive(request, incoming, ticket.size)

            def keep() -> None:
                _check_size(incoming.size, ticket.size)
                incoming.finish(ticket.oid)
                self._hub.holdings.add(ticket.namespace, ticket.oid)

            await asyncio.to_thread(keep)
        return Response(status_code=200, headers={"etag": f'"{ticket.oid}"'})

    async def put_part(self, request: Request) -> Response:
        ticket, number = self._ticket(request), int(request.path_params["part"])
        size = _part_size(ticket.size, number)
        with self._hub.aside.receive(_name(ticket, number)) as incoming:
            await receive(request, incoming, size)
            _check_size(incoming.size, size)
            await asyncio.to_thread(incoming.finish)
        return Response(status_code=200, headers={"etag": f'"{number}-{size}"'})

    async def join(self, request: Request) -> Response:
        """All parts were sent."""
        ticket = self._ticket(request)
        await read_bytes(request, _BODY_BYTES)
        await asyncio.to_thread(self._join, ticket)
        return _reply({"success": True})

    async def verify(self, request: Request) -> Response:
        ticket = self._ticket(request)
        await read_bytes(request, _BODY_BYTES)
        if not await asyncio.to_thread(self._hub.holdings.has, ticket.oid, ticket.namespace):
            raise NotFound(f"The file with the sha256 {ticket.oid} is not here.")
        return _reply({})

    def _offer(
        self, request: Request, namespace: str, is_parted: bool, one: Wanted
    ) -> dict[str, Any]:
        """What to do about a file: nothing where it is here."""
        answer: dict[str, Any] = {"oid": one.oid, "size": one.size}
        if self._hub.holdings.promises(namespace, one.oid):
            return answer
        try:
            self._hub.blobs.check_room(one.size)
        except BaigongError as error:
            return {**answer, "error": {"code": error.status, "message": str(error)}}
        user = request.state.principal.actor.user
        ticket = Ticket("lfs", namespace, user, expiry("lfs"), one.oid, one.size)
        href = f"{door(request)}/-/lfs/{self._tickets.write(ticket)}"
        upload: dict[str, Any] = {"href": href}
        if is_parted and _is_parted(one):
            size = _part_bytes(one.size)
            numbers = range(1, -(-one.size // size) + 1)
            urls = {str(number): f"{href}/{number}" for number in numbers}
            upload["header"] = {"chunk_size": str(size), **urls}
        return {**answer, "actions": {"upload": upload, "verify": {"href": f"{href}/verify"}}}

    def _join(self, ticket: Ticket) -> None:
        """Make a file of its parts; they go, whatever becomes of it."""
        size = _part_bytes(ticket.size)
        names = [_name(ticket, n) for n in range(1, -(-ticket.size // size) + 1)]
        if self._hub.holdings.has(ticket.oid, ticket.namespace):
            return  # asked again, for the answer was lost
        for number, name in enumerate(names, 1):
            if not self._hub.aside.has(name):
                raise InvalidInput(f"Part {number} is missing.", hint="Send it.", param="parts")
        self._hub.blobs.check_room(ticket.size)
        with self._hub.blobs.receive() as incoming:
            for name in names:
                for piece in self._hub.aside.pieces(name, 0, size):
                    incoming.write(piece)
            try:
                _check_size(incoming.size, ticket.size)
                incoming.finish(ticket.oid)
            finally:
                for name in names:
                    self._hub.aside.delete(name)
        self._hub.holdings.add(ticket.namespace, ticket.oid)

    def _ticket(self, request: Request) -> Ticket:
        return self._tickets.read(request.path_params["ticket"], "lfs")


async def _object(request: Request) -> dict[str, Any]:
    """A JSON object, by whichever name of JSON."""
    try:
        found = msgspec.json.decode(await read_bytes(request, _BODY_BYTES))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInput("The body must be a JSON object.", hint="Send {...}.")
    return found


def _reply(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type=_MEDIA)


def _is_parted(one: Wanted) -> bool:
    return one.size > _WHOLE_BYTES


def _part_bytes(size: int) -> int:
    """Bytes of each part but the last: whole MiB, so that there are not too many."""
    return max(_PART_BYTES, -(-size // (_MOST_PARTS << 20)) << 20)


def _part_size(size: int, number: int) -> int:
    """
    Raises:
        InvalidInput: there is no such part.
    """
    each = _part_bytes(size)
    if not 0 < number <= -(-size // each):
        raise InvalidInput(f"There is no part {number} of a file of {size} bytes.", param="part")
    return min(each, size - (number - 1) * each)


def _check_size(size: int, wanted: int) -> None:
    if size != wanted:
        raise InvalidInput(
            f"{size} bytes came, {wanted} were announced.",
            hint="They were cut off on the way; send them again.",
            param="size",
        )


def _name(ticket: Ticket, number: int) -> str:
    """What a part is called aside."""
    text = f"part {ticket.namespace} {ticket.oid} {ticket.size} {number}"
    return hashlib.sha256(text.encode()).hexdigest()
