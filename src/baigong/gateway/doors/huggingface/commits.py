"""`preupload` and `commit`: how each file is to be sent, and what is changed."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import BaigongError, InvalidInput
from baigong.gateway.bodies import convert
from baigong.gateway.commits import Committed, commit
from baigong.gateway.doors.huggingface.attributes import (
    ATTRIBUTES,
    IGNORED,
    Attributes,
    Ignored,
)
from baigong.gateway.doors.huggingface.draft import Draft, checked
from baigong.gateway.doors.huggingface.lines import lines_of
from baigong.gateway.doors.huggingface.tree import is_true
from baigong.gateway.doors.huggingface.wire import in_header, repository_of, taking, url_of
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Moved, Words
from baigong.hub.discussions import Discussion
from baigong.hub.hub import Hub
from baigong.hub.manifest import Files
from baigong.hub.repositories import Repository

_MOST_REGULAR = 10 << 20  # bytes of a text that is sent within the commit
_READ = 1 << 20  # bytes of .gitattributes and .gitignore


class _File(msgspec.Struct):
    """`sample` is its first bytes in base64."""

    path: str
    size: int = 0
    sample: str = ""


class _Preupload(msgspec.Struct):
    files: list[_File]
    attributes: str | None = msgspec.field(name="gitAttributes", default=None)
    ignored: str | None = msgspec.field(name="gitIgnore", default=None)


class CommitsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}"
        preupload, commit_ = (
            f"{root}/preupload/{{revision:rest}}",
            f"{root}/commit/{{revision:rest}}",
        )
        return [
            Route(preupload, taking(self.preupload), methods=["POST"]),
            Route(commit_, self.commit, methods=["POST"]),
        ]

    def preupload(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Of each file whether it is sent within the commit or before it, or left out."""
        one, wanted = self._writable(request), convert(body, _Preupload)
        at = self._hub.commits.resolve(one.id, request.path_params["revision"])
        files = self._hub.commits.files(at)
        attributes = Attributes(self._text(files, ATTRIBUTES, wanted.attributes))
        ignored = Ignored(self._text(files, IGNORED, wanted.ignored))
        return {
            "files": [
                {
                    "path": file.path,
                    "uploadMode": _mode(file, attributes),
                    "shouldIgnore": ignored.covers(file.path),
                    "oid": entry.oid or entry.digest if (entry := files.get(file.path)) else None,
                }
                for file in wanted.files
                if checked(file.path)
            ],
            "commitOid": at.id,
        }

    async def commit(self, request: Request) -> Response:
        """The changes in the lines of the body, all or none; `create_pr=1` proposes them only."""
        draft = await asyncio.to_thread(self._begin, request)
        async for lines in lines_of(request):
            await asyncio.to_thread(draft.add, lines)
        return await asyncio.to_thread(self._commit, request, draft)

    def _begin(self, request: Request) -> Draft:
        one = self._writable(request)
        at = self._hub.commits.resolve(one.id, request.path_params["revision"])
        return Draft(self._hub, one, at, actor_of(request))

    def _commit(self, request: Request, draft: Draft) -> Response:
        one, header = draft.one, draft.header()
        branch = request.path_params["revision"]
        if not _proposes(request):
            made = self._make(request, draft, branch, header.parent)
            return _told(request, one, made, None)
        text = header.description.strip() or "A pull request of one commit."
        title, talk = header.summary[:200], self._hub.discussions
        pull = talk.open(one, actor_of(request), title, text, target=branch)
        try:
            made = self._make(request, draft, pull.branch, None)
        except BaigongError:
            talk.withdraw(one, pull)
            raise
        return _told(request, one, made, pull)

    def _make(self, request: Request, draft: Draft, branch: str, parent: str | None) -> Committed:
        header, actor = draft.header(), actor_of(request)
        words = Words(header.summary, actor.user, header.description)
        try:
            return commit(
                self._hub, actor, draft.one, draft.changes, words, branch=branch, parent=parent
            )
        except Moved as error:
            raise Moved(
                "The branch was updated since you opened this page. Please refresh and try again.",
                hint=str(error),
            ) from error

    def _writable(self, request: Request) -> Repository:
        """The repository, to which the caller may commit, or propose a commit."""
        one = repository_of(self._hub, request)
        if not _proposes(request):
            revision = request.path_params["revision"]
            self._hub.discussions.check_writes(one, actor_of(request), revision)
        return one

    def _text(self, files: Files, path: str, given: str | None) -> str:
        if given is not None:
            return given
        entry = files.get(path)
        data = self._hub.blobs.read(entry.digest, 0, _READ) if entry else b""
        return data.decode("utf-8", "replace")


def _told(request: Request, one: Repository, made: Committed, pull: Discussion | None) -> Response:
    url = url_of(request, one)
    told = {
        "success": True,
        "commitOid": made.commit.id,
        "commitUrl": f"{url}/commit/{made.commit.id}",
        "hookOutput": "",
    }
    if pull is not None:
        told["pullRequestUrl"] = f"{url}/discussions/{pull.number}"
    reply = json_reply(told)
    for number, warning in enumerate(made.warnings):
        reply.headers.append(
            "x-hf-warning", f"commit-{made.commit.id[:12]}-{number}; {in_header(warning)}"
        )
    return reply


def _mode(file: _File, attributes: Attributes) -> Literal["regular", "lfs"]:
    try:
        sample = base64.b64decode(file.sample)
    except binascii.Error as error:
        raise InvalidInput(f"The sample of '{file.path}' is not base64.", param="sample") from error
    is_large = b"\0" in sample or file.size > _MOST_REGULAR or attributes.is_large(file.path)
    return "lfs" if is_large else "regular"


def _proposes(request: Request) -> bool:
    return is_true(request.query_params.get("create_pr"))
