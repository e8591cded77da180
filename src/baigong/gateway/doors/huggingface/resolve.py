"""`resolve`: files themselves, whole or in ranges."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.blobs import blob_reply
from baigong.gateway.doors.huggingface.wire import NoEntry, repository_of
from baigong.gateway.endpoints import actor_of
from baigong.hub.commits import Commit
from baigong.hub.counting import is_download
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.repositories import Repository


class _Found(NamedTuple):
    one: Repository
    commit: Commit
    entry: Entry
    is_download: bool


class ResolveApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [
            Route(
                f"{prefix}/{{owner:part}}/{{name:part}}/{verb}/{{revision:part}}/{{path:rest}}",
                self.file,
            )
            for prefix in ("/{kind:kind}", "")
            for verb in ("resolve", "raw")
        ]

    async def file(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._find, request)
        entry, name = found.entry, request.path_params["path"].rpartition("/")[2]
        etag = f'"{entry.oid or entry.digest}"'
        plain = name.encode("ascii", "replace").decode().replace('"', "_")
        headers = {
            "etag": etag,
            "x-repo-commit": found.commit.id,
            "x-linked-etag": etag,
            "x-linked-size": str(entry.size),
            "content-disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";",
            "x-content-type-options": "nosniff",
        }
        begins = request.headers.get("range", "bytes=0-").startswith("bytes=0-")
        if found.is_download and begins and request.method == "GET":
            self._hub.counting.count(found.one.id)
        path = request.path_params["path"]
        pieces = partial(self._hub.mirror.pieces, found.one, found.commit, path)
        return blob_reply(request, pieces, entry.size, headers)

    def _find(self, request: Request) -> _Found:
        one = repository_of(self._hub, request)
        self._hub.admissions.check(one, actor_of(request))
        path = request.path_params["path"]
        commit = self._hub.commits.resolve(one.id, request.path_params["revision"])
        files = self._hub.commits.files(commit)
        if (entry := files.get(path)) is None:
            raise NoEntry.of(path, commit)
        return _Found(one, commit, entry, is_download(files, path))
