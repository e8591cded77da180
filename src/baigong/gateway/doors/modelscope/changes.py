"""Commits, the large files that they name, and what was committed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.blobs import receive
from baigong.gateway.commits import commit
from baigong.gateway.doors.modelscope.wire import (
    data_reply,
    number_of,
    repository_of,
    revision_of,
)
from baigong.gateway.endpoints import actor_of, answering, taking
from baigong.hub.commits import Change, Commit, Lost, Put, Remove, Words
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.repositories import Repository

_COMMIT_BYTES = 64 << 20  # the client aims at 8 MiB for a commit
_MOST_OBJECTS = 1000  # of a batch

_Digest = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class _Action(msgspec.Struct):
    """One file of a commit: its bytes in base64, or the sha256 of what was sent before."""

    action: Literal["create", "update", "delete"]
    path: str
    type: Literal["normal", "lfs"] = "normal"
    sha256: _Digest = ""
    content: str = ""


class _Commit(msgspec.Struct):
    actions: list[_Action]
    commit_message: str = ""


class _Object(msgspec.Struct):
    oid: _Digest
    size: int


class _Batch(msgspec.Struct):
    objects: list[_Object]
    operation: str = "upload"


class ChangesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/api/v1/repos/{kinds}/{owner}/{name}"
        objects = f"{one}/info/lfs/objects"
        plain = "/api/v1/{kinds}/{owner}/{name}"
        committing = taking(_Commit, self.commit, _COMMIT_BYTES)
        return [
            Route(f"{one}/commit/{{revision:path}}", committing, methods=["POST"]),
            Route(f"{objects}/batch", taking(_Batch, self.batch), methods=["POST"]),
            Route(f"{objects}/{{oid}}/{{size:int}}", self.receive, methods=["PUT"]),
            Route(f"{plain}/commits", answering(self.log), methods=["GET"]),
            Route(f"{plain}/file", answering(self.delete), methods=["DELETE"]),
            Route(f"{plain}/repo", answering(self.delete), methods=["DELETE"]),
        ]

    def commit(self, request: Request, body: _Commit) -> Response:
        """All actions, or none of them."""
        one = repository_of(self._hub, request, to_change=True)
        changes = [self._change(one, action) for action in body.actions]
        title = body.commit_message or "Commit"
        return self._commit(request, one, request.path_params["revision"], changes, title)

    def delete(self, request: Request) -> Response:
        """One file, as older clients ask for it."""
        one, query = repository_of(self._hub, request, to_change=True), request.query_params
        path = query.get("FilePath", "")
        return self._commit(request, one, query.get("Revision"), [Remove(path)], f"Delete {path}")

    def batch(self, request: Request, body: _Batch) -> Response:
        """Where to send the bytes of large files; those that are here need no sending."""
        one = repository_of(self._hub, request, to_change=True)
        if len(body.objects) > _MOST_OBJECTS:
            raise InvalidInput(f"A batch is of {_MOST_OBJECTS} objects at most.", param="objects")
        base = f"{request.base_url}modelscope/api/v1/repos/{one.kind}s/{one.name}/info/lfs/objects"

        def answer(each: _Object) -> dict[str, Any]:
            found: dict[str, Any] = {"oid": each.oid, "size": each.size}
            if not self._hub.holdings.promises(one.owner, each.oid):
                self._hub.blobs.check_room(each.size)
                found["actions"] = {"upload": {"href": f"{base}/{each.oid}/{each.size}"}}
            return found

        return data_reply(request, {"objects": [answer(each) for each in body.objects]})

    async def receive(self, request: Request) -> Response:
        """A large file's bytes, to the disk; kept if they have the sha256 that was announced."""
        path = request.path_params
        one = await asyncio.to_thread(repository_of, self._hub, request, to_change=True)
        with self._hub.blobs.receive() as incoming:
            await receive(request, incoming, path["size"])
            digest = await asyncio.to_thread(incoming.finish, path["oid"])
        await asyncio.to_thread(self._hub.holdings.add, one.owner, digest)
        return data_reply(request, None)

    def log(self, request: Request) -> Response:
        """The history of `Ref`, newest first, by pages."""
        one = repository_of(self._hub, request)
        at = self._hub.commits.resolve(one.id, revision_of(request.query_params.get("Ref")))
        found = self._hub.commits.log(one.id, at)
        size = number_of(request, "PageSize", 50, 1000)
        start = (number_of(request, "PageNumber", 1, 1 << 30) - 1) * size
        listed = [_logged(each) for each in found[start : start + size]]
        return data_reply(request, {"Commit": listed}, TotalCount=len(found))

    def _commit(
        self,
        request: Request,
        one: Repository,
        revision: str | None,
        changes: list[Change],
        title: str,
    ) -> Response:
        actor = actor_of(request)
        words, branch = Words(title, actor.user), revision_of(revision)
        made = commit(self._hub, actor, one, changes, words, branch=branch)
        return data_reply(
            request,
            {"oid": made.commit.id, "Id": made.commit.id, "Warnings": list(made.warnings)},
        )

    def _change(self, one: Repository, action: _Action) -> Change:
        if action.action == "delete":
            return Remove(action.path)
        if action.type == "normal":
            return Put(action.path, self._hub.keep(_bytes_of(action)))
        size = self._hub.holdings.size(action.sha256, one.owner)
        if size is None:
            raise Lost(f"The bytes of '{action.path[:200]}' are not here.", hint="Upload them.")
        return Put(action.path, Entry(action.sha256, size, "", ""))


def _bytes_of(action: _Action) -> bytes:
    try:
        return base64.b64decode(action.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(
            f"The content of '{action.path[:200]}' is not base64.", param="content"
        ) from error


def _logged(commit: Commit) -> dict[str, Any]:
    at = int(commit.created_at)
    return {
        "Id": commit.id,
        "ShortId": commit.id[:8],
        "Title": commit.title,
        "Message": f"{commit.title}\n\n{commit.message}".rstrip(),
        "AuthorName": commit.author,
        "AuthorEmail": "",
        "AuthoredDate": at,
        "CommitterName": commit.author,
        "CommitterEmail": "",
        "CommittedDate": at,
        "CreatedAt": at,
    }
