"""`preupload` and `commit`: how each file is to be sent, and what is changed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.bodies import convert
from baigong.gateway.commits import Committed, commit
from baigong.gateway.doors.huggingface.attributes import (
    ATTRIBUTES,
    IGNORED,
    Attributes,
    Ignored,
)
from baigong.gateway.doors.huggingface.entries import Tree
from baigong.gateway.doors.huggingface.lines import lines_of
from baigong.gateway.doors.huggingface.tree import is_true
from baigong.gateway.doors.huggingface.wire import (
    actor_of,
    repository_of,
    taking,
    url_of,
)
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Change, Moved, Put, Remove, Words
from baigong.hub.discussions import Discussion
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry, Files
from baigong.hub.names import check_path
from baigong.hub.repositories import Repository

_MOST_REGULAR = 10 << 20  # bytes of a text that is sent within the commit
_MOST_CHANGES = 100_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_READ = 1 << 20  # bytes of .gitattributes and .gitignore


T = TypeVar("T")


class _File(msgspec.Struct):
    """`sample` is its first bytes in base64."""

    path: str
    size: int = 0
    sample: str = ""


class _Preupload(msgspec.Struct):
    files: list[_File]
    attributes: str | None = msgspec.field(name="gitAttributes", default=None)
    ignored: str | None = msgspec.field(name="gitIgnore", default=None)


class _Line(msgspec.Struct):
    key: str
    value: msgspec.Raw


class _Header(msgspec.Struct):
    summary: str
    description: str = ""
    parent: str | None = msgspec.field(name="parentCommit", default=None)


class _Regular(msgspec.Struct):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "utf-8"


class _Large(msgspec.Struct):
    path: str
    oid: str
    size: int | None = None
    algo: Literal["sha256"] = "sha256"


class _Deleted(msgspec.Struct):
    path: str


class WrongPath(InvalidInput):
    """A file may not be called so."""

    status = 422


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
                if _checked(file.path)
            ],
            "commitOid": at.id,
        }

    async def commit(self, request: Request) -> Response:
        """The changes in the lines of the body, all or none; `create_pr=1` proposes them only."""
        one = await asyncio.to_thread(self._writable, request)
        draft = _Draft(self._hub, one, request.path_params["revision"])
        async for line in lines_of(request):
            await asyncio.to_thread(draft.add, line)
        return await asyncio.to_thread(self._commit, request, one, draft)

    def _commit(self, request: Request, one: Repository, draft: _Draft) -> Response:
        header, actor = draft.header(), actor_of(request)
        branch, parent, pull = request.path_params["revision"], header.parent, None
        if _proposes(request):
            pull = self._propose(request, one, header)
            branch, parent = pull.branch, None
        words = Words(header.summary, actor.user, header.description)
        try:
            made = commit(self._hub, actor, one, draft.changes, words, branch=branch, parent=parent)
        except Moved as error:
            raise Moved(
                "The branch was updated since you opened this page. Please refresh and try again.",
                hint=str(error),
            ) from error
        return _told(request, one, made, pull)

    def _propose(self, request: Request, one: Repository, header: _Header) -> Discussion:
        title = header.summary[:200]
        text = header.description or "A pull request of one commit."
        target = request.path_params["revision"]
        return self._hub.discussions.open(one, actor_of(request), title, text, target=target)

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


class _Draft:
    """What was read of a commit so far. Its methods block."""

    def __init__(self, hub: Hub, one: Repository, revision: str) -> None:
        self.changes: list[Change] = []
        self._hub = hub
        self._one = one
        self._revision = revision
        self._header: _Header | None = None
        self._before: Tree | None = None
        self._readers: Mapping[str, Callable[[msgspec.Raw], Change]] = {
            "file": self._regular,
            "lfsFile": self._large,
            "deletedFile": self._deleted,
            "deletedEntry": self._deleted,
            "deletedFolder": self._deleted_folder,
        }

    def header(self) -> _Header:
        if self._header is None:
            raise InvalidInput("The commit has no line with the key `header`.", param="header")
        return self._header

    def add(self, line: bytes) -> None:
        """A line; bytes that it carries go into the store.

        Raises:
            InvalidInput: it is none that this server knows.
        """
        found = _decoded(line, _Line)
        if found.key == "header":
            self._header = _decoded(found.value, _Header)
            return
        if (read := self._readers.get(found.key)) is None:
            raise InvalidInput(
                f"A line has the key '{found.key[:40]}'.",
                hint=f"Use header, {', '.join(self._readers)}.",
                param="key",
            )
        if len(self.changes) == _MOST_CHANGES:
            raise InvalidInput(f"A commit has more than {_MOST_CHANGES} changes.")
        self.changes.append(read(found.value))

    def _regular(self, value: msgspec.Raw) -> Change:
        file = _decoded(value, _Regular)
        _checked(file.path)
        if file.encoding == "utf-8":
            return Put(file.path, self._hub.keep(file.content.encode("utf-8", "surrogatepass")))
        try:
            data = base64.b64decode(file.content, validate=True)
        except binascii.Error as error:
            raise InvalidInput(f"'{file.path}' is not base64: {error}.", param="content") from error
        return Put(file.path, self._hub.keep(data))

    def _large(self, value: msgspec.Raw) -> Change:
        file = _decoded(value, _Large)
        _checked(file.path)
        if not _DIGEST.fullmatch(file.oid):
            raise InvalidInput(f"'{file.oid[:80]}' is no sha256.", param="oid")
        size = self._hub.blobs.size(file.oid)
        if size is not None and file.size not in {None, size}:
            raise InvalidInput(f"'{file.path}' has {size} bytes, not {file.size}.", param="size")
        return Put(file.path, Entry(file.oid, size or 0, "", ""))

    def _deleted(self, value: msgspec.Raw) -> Change:
        path = _decoded(value, _Deleted).path
        if self._before is None:
            commits = self._hub.commits
            at = commits.resolve(self._one.id, self._revision)
            self._before = Tree(commits.files(at))
        return Remove(f"{path}/" if self._before.has_folder(path) else path)

    def _deleted_folder(self, value: msgspec.Raw) -> Change:
        return Remove(_decoded(value, _Deleted).path.rstrip("/") + "/")


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
        said = " ".join(warning.split()).encode("ascii", "replace").decode()
        reply.headers.append("x-hf-warning", f"commit-{made.commit.id[:12]}-{number}; {said}")
    return reply


def _mode(file: _File, attributes: Attributes) -> Literal["regular", "lfs"]:
    try:
        sample = base64.b64decode(file.sample)
    except binascii.Error as error:
        raise InvalidInput(f"The sample of '{file.path}' is not base64.", param="sample") from error
    is_large = b"\0" in sample or file.size > _MOST_REGULAR or attributes.is_large(file.path)
    return "lfs" if is_large else "regular"


def _checked(path: str) -> bool:
    try:
        check_path(path)
    except InvalidInput as error:
        raise WrongPath(error.message, hint=error.hint, param="path") from error
    return True


def _proposes(request: Request) -> bool:
    return is_true(request.query_params.get("create_pr"))


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"A line of the commit cannot be read: {error}.", hint="Mend it."
        ) from error
