"""Branches and tags."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.doors.modelscope.wire import (
    MASTER,
    data_reply,
    repository_of,
    revision_of,
    shown_branch,
)
from baigong.gateway.endpoints import answering, taking
from baigong.hub.commits import Ref
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN


class _Tag(msgspec.Struct):
    TagName: str
    Ref: str = MASTER


class RevisionsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/api/v1/{kinds}/{owner}/{name}"
        return [
            Route(f"{one}/revisions", answering(self.page), methods=["GET"]),
            Route(f"{one}/repo/tag", taking(_Tag, self.create_tag), methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        """All of them; of tags those that are not younger than `EndTime`, where it is given."""
        one = repository_of(self._hub, request)
        refs = self._hub.commits.refs(one.id)
        known = self._hub.commits.of(one.id, {ref.commit for ref in refs})
        end = request.query_params.get("EndTime", "")

        def listed(ref: Ref) -> dict[str, Any]:
            name = shown_branch(ref.name) if ref.kind == "branch" else ref.name
            at = int(known[ref.commit].created_at)
            return {"Revision": name, "ShowName": name, "CommitId": ref.commit, "CreatedAt": at}

        branches = [listed(ref) for ref in refs if ref.kind == "branch"]
        tags = [listed(ref) for ref in refs if ref.kind == "tag"]
        if end.isascii() and end.isdigit() and len(end) < 20:
            tags = [tag for tag in tags if tag["CreatedAt"] <= int(end)]
        tags.sort(key=lambda tag: -int(tag["CreatedAt"]))
        return data_reply(request, {"RevisionMap": {"Branches": branches, "Tags": tags}})

    def create_tag(self, request: Request, body: _Tag) -> Response:
        """A tag on what `Ref` names now."""
        one = repository_of(self._hub, request, to_change=True)
        if body.TagName in {MAIN, MASTER}:
            raise InvalidInput(f"A tag is not called '{body.TagName}'.", param="TagName")
        at = self._hub.commits.resolve(one.id, revision_of(body.Ref))
        self._hub.commits.refer(one.id, Ref("tag", body.TagName, at.id))
        return data_reply(request, {"TagName": body.TagName, "CommitId": at.id})
