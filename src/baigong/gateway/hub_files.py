"""`/api/hub`, inside a repository: its files and its history, as the console shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.replies import json_reply
from baigong.hub.hub import Hub
from baigong.hub.reader import At, Reader, kind_of, page_of


class HubFilesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/hub/{kind}/{owner}/{name}"
        return [
            Route(f"{one}/files", self.files, methods=["GET"]),
            Route(f"{one}/file/{{path:path}}", self.file, methods=["GET"]),
            Route(f"{one}/history", self.history, methods=["GET"]),
        ]

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
