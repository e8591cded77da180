"""`tree` and `paths-info`: what is in a folder, and what of some paths is there."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.bodies import LIMIT_BYTES, convert, read_bytes, read_object
from baigong.gateway.doors.huggingface.entries import Tree
from baigong.gateway.doors.huggingface.security import file_status
from baigong.gateway.doors.huggingface.wire import NoEntry, repository_of
from baigong.gateway.endpoints import answering
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Commit
from baigong.hub.hub import Hub
from baigong.hub.repositories import Repository

_PAGE, _EXPANDED_PAGE = 1000, 50
_PATHS = 10_000  # of one question


class _Paths(msgspec.Struct):
    paths: list[str]
    expand: bool = False


class _At(NamedTuple):
    """A repository at a revision."""

    one: Repository
    commit: Commit
    tree: Tree


class TreeApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}"
        return [
            Route(f"{root}/tree/{{revision:part}}", answering(self.tree)),
            Route(f"{root}/tree/{{revision:part}}/{{path:rest}}", answering(self.tree)),
            Route(f"{root}/paths-info/{{revision:part}}", self.paths, methods=["POST"]),
        ]

    def tree(self, request: Request) -> Response:
        """A page of a folder; `recursive` and `expand` say of what and how much."""
        at, query = self._at(request), request.query_params
        folder = request.path_params.get("path", "").strip("/")
        if folder and not at.tree.has_folder(folder):
            raise NoEntry.of(folder, at.commit)
        paths = at.tree.paths(folder, recursive=is_true(query.get("recursive")))
        size = _EXPANDED_PAGE if is_true(query.get("expand")) else _PAGE
        if (limit := query.get("limit", "")).isdecimal():
            size = max(1, min(size, int(limit[:9])))
        start = bisect_right(paths, query["cursor"]) if "cursor" in query else 0
        page = paths[start : start + size]
        headers = {}
        if start + size < len(paths):
            following = request.url.include_query_params(cursor=page[-1])
            headers["link"] = f'<{following}>; rel="next"'
        told = self._told(at, page, expand=is_true(query.get("expand")))
        return json_reply(told, headers=headers)

    async def paths(self, request: Request) -> Response:
        """What of the paths in a form, or a JSON object, is there; the others are passed over."""
        kind = request.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            body = (await read_bytes(request, LIMIT_BYTES)).decode("utf-8", "replace")
            form = parse_qs(body, keep_blank_values=True)
            wanted = _Paths(form.get("paths", []), is_true(form.get("expand", [""])[0]))
        else:
            wanted = convert(await read_object(request), _Paths)
        if len(wanted.paths) > _PATHS:
            raise InvalidInput(f"More than {_PATHS} paths at once.", param="paths")
        return json_reply(await asyncio.to_thread(self._paths, request, wanted))

    def _paths(self, request: Request, wanted: _Paths) -> list[dict[str, Any]]:
        at = self._at(request)
        found = [path for each in wanted.paths if at.tree.has(path := each.strip("/"))]
        return self._told(at, list(dict.fromkeys(found)), expand=wanted.expand)

    def _told(self, at: _At, paths: list[str], *, expand: bool) -> list[dict[str, Any]]:
        if not expand:
            return at.tree.told(paths)
        told = at.tree.expanded(paths, self._hub.commits, at.one.id, at.commit)
        files = self._hub.commits.files(at.commit)
        known = self._hub.checks.known({path: files[path] for path in paths if path in files})
        for each in told:
            if (found := known.get(each["path"])) is not None:
                each["securityFileStatus"] = file_status(found)
        return told

    def _at(self, request: Request) -> _At:
        one = repository_of(self._hub, request)
        commit = self._hub.commits.resolve(one.id, request.path_params["revision"])
        return _At(one, commit, Tree(self._hub.commits.files(commit)))


def is_true(word: str | None) -> bool:
    """A flag in a query, as JavaScript or Python writes it."""
    return (word or "").lower() in {"true", "1"}
