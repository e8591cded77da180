"""Branches, tags and the history that they lead to."""

from __future__ import annotations

from html import escape
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.gateway.bodies import convert
from baigong.gateway.doors.huggingface.wire import owned, repository_of, taking
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.gateway.replies import json_reply
from baigong.hub.access import NotYours
from baigong.hub.commits import Commit, Ref, RefKind, Words
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN
from baigong.hub.repositories import Repository

_PAGE = 50  # commits
_PLACES: dict[RefKind, str] = {"branch": "refs/heads/", "tag": "refs/tags/", "pull": ""}


class _Branch(msgspec.Struct):
    start: str = msgspec.field(name="startingPoint", default=MAIN)


class _Tag(msgspec.Struct):
    tag: str
    message: str = ""


class _Squash(msgspec.Struct):
    message: str = "Squash the history"


class RefsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}"
        branch, tag = f"{root}/branch/{{branch:rest}}", f"{root}/tag/{{revision:rest}}"
        squash = f"{root}/super-squash/{{branch:rest}}"
        return [
            Route(f"{root}/refs", answering(self.all)),
            Route(f"{root}/commits/{{revision:rest}}", answering(self.log)),
            Route(branch, taking(self.create_branch), methods=["POST"]),
            Route(branch, answering(self.delete_branch), methods=["DELETE"]),
            Route(tag, taking(self.create_tag), methods=["POST"]),
            Route(tag, answering(self.delete_tag), methods=["DELETE"]),
            Route(squash, taking(self.squash), methods=["POST"]),
        ]

    def all(self, request: Request) -> dict[str, Any]:
        one = repository_of(self._hub, request)
        found: dict[RefKind, list[dict[str, str]]] = {"branch": [], "tag": [], "pull": []}
        for ref in self._hub.commits.refs(one.id):
            place = f"{_PLACES[ref.kind]}{ref.name}"
            name = ref.name.removeprefix("refs/pr/") if ref.kind == "pull" else ref.name
            found[ref.kind].append({"name": name, "ref": place, "targetCommit": ref.commit})
        told = {"branches": found["branch"], "tags": found["tag"], "converts": []}
        if request.query_params.get("include_prs"):
            told["pullRequests"] = found["pull"]
        return told

    def log(self, request: Request) -> Response:
        """A page of the commits that lead to a revision, the newest first."""
        one, query = repository_of(self._hub, request), request.query_params
        commit = self._hub.commits.resolve(one.id, request.path_params["revision"])
        found = self._hub.commits.log(one.id, commit)
        page = int(query["p"][:9]) if query.get("p", "").isdecimal() else 0
        size = int(query["limit"][:3]) if query.get("limit", "").isdecimal() else _PAGE
        size = max(1, min(size, 100))
        headers = {"x-total-count": str(len(found))}
        if (page + 1) * size < len(found):
            headers["link"] = f'<{request.url.include_query_params(p=page + 1)}>; rel="next"'
        formatted = "formatted" in query.getlist("expand[]") + query.getlist("expand")
        shown = found[page * size : (page + 1) * size]
        return json_reply([_told(each, formatted=formatted) for each in shown], headers=headers)

    def create_branch(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        name = request.path_params["branch"]
        if name.startswith("refs/"):
            raise InvalidInput(f"Invalid reference for a branch: {name[:200]}", param="branch")
        return self._refer(request, "branch", name, convert(body, _Branch).start)

    def create_tag(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        tag = convert(body, _Tag)
        return self._refer(request, "tag", tag.tag, request.path_params["revision"], tag.message)

    def delete_branch(self, request: Request) -> dict[str, Any]:
        name = request.path_params["branch"]
        if name == MAIN:
            owned(self._hub, request)
            raise NotYours(f"Cannot delete refs/heads/{MAIN}")
        return self._forget(request, "branch", name)

    def delete_tag(self, request: Request) -> dict[str, Any]:
        return self._forget(request, "tag", request.path_params["revision"])

    def squash(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """One commit of what is there, where there were many."""
        one, wanted = owned(self._hub, request), convert(body, _Squash)
        words = Words(wanted.message, actor_of(request).user)
        made = self._hub.commits.squash(one.id, request.path_params["branch"], words)
        self._hub.refresh(one.kind, one.name)
        return {"commitOid": made.id}

    def _refer(
        self, request: Request, kind: RefKind, name: str, start: str, message: str = ""
    ) -> dict[str, Any]:
        one = owned(self._hub, request)
        commit = self._hub.commits.resolve(one.id, start)
        try:
            self._hub.commits.refer(one.id, Ref(kind, name, commit.id, message))
        except Conflict as error:
            raise Conflict(f"Reference {_PLACES[kind]}{name} already exists") from error
        return {"name": name, "targetCommit": commit.id}

    def _forget(self, request: Request, kind: RefKind, name: str) -> dict[str, Any]:
        one: Repository = owned(self._hub, request)
        try:
            self._hub.commits.forget(one.id, kind, name)
        except NotFound as error:
            missing = NotFound(f"Invalid rev id: {name[:200]}")
            missing.code = error.code
            raise missing from error
        return {}


def _told(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": when(commit.created_at),
    }
    if formatted:
        told["formatted"] = {"title": _html(commit.title), "message": _html(commit.message)}
    return told


def _html(text: str) -> str:
    return f"<p>{escape(text)}</p>"
