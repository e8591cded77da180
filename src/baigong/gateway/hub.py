"""`/api/hub`: what the console's pages of the hub show, as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.gateway.replies import json_reply
from baigong.hub.reader import At, Reader, asked, kind_of, page_of


class HubApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._hub = platform.hub

    def routes(self) -> list[Route]:
        one = "/hub/{kind}/{owner}/{name}"
        return [
            Route("/hub/{kind}", self.all, methods=["GET"]),
            Route(one, self.one, methods=["GET"]),
            Route(f"{one}/files", self.files, methods=["GET"]),
            Route(f"{one}/file/{{path:path}}", self.file, methods=["GET"]),
            Route(f"{one}/history", self.history, methods=["GET"]),
        ]

    async def all(self, request: Request) -> Response:
        """Repositories of a kind by `reader.asked`, a page of them."""
        query = asked(kind_of(request.path_params["kind"]), request.query_params)
        found, total = await self._hub.listing.ask(query, request.state.principal.actor)
        return json_reply({"data": found, "total": total})

    async def one(self, request: Request) -> Response:
        """A repository at `?revision=`, its card and where it comes from."""

        def read(reader: Reader, at: At) -> dict[str, Any]:
            lineage = reader.lineage(at.repository)
            return {"at": at, "card": reader.card(at), "lineage": lineage}

        return await self._reply(request, read)

    async def files(self, request: Request) -> Response:
        """What lies in `?folder=`."""

        def read(reader: Reader, at: At) -> dict[str, Any]:
            found, total = reader.folder(at, request.query_params.get("folder", "").strip("/"))
            return {"at": at, "data": found, "total": total}

        return await self._reply(request, read)

    async def file(self, request: Request) -> Response:
        """A file, as text or as a list of tensors where it is one."""
        path = request.path_params["path"]
        return await self._reply(request, lambda reader, at: reader.file(at, path))

    async def history(self, request: Request) -> Response:
        """A page of commits."""

        def read(reader: Reader, at: At) -> dict[str, Any]:
            found, total = reader.history(at, page_of(request.query_params))
            return {"at": at, "data": found, "total": total}

        return await self._reply(request, read)

    async def _reply(self, request: Request, read: Callable[[Reader, At], Any]) -> Response:
        path, revision = request.path_params, request.query_params.get("revision", "")
        reader = Reader(self._hub, request.state.principal.actor)

        def find() -> Any:
            name = f"{path['owner']}/{path['name']}"
            return read(reader, reader.at(kind_of(path["kind"]), name, revision))

        return json_reply(await asyncio.to_thread(find))
