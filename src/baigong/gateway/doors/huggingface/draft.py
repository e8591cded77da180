"""What a commit is made of: a line for its words, and one for each change."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Annotated, Literal, TypeVar

import msgspec

from baigong.errors import InvalidInput
from baigong.gateway.doors.huggingface.entries import Tree
from baigong.hub.access import Actor
from baigong.hub.commits import Change, Commit, Lost, Put, Remove
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.names import check_path
from baigong.hub.repositories import Repository

_MOST_CHANGES = 100_000
_BACK = 100  # commits whose files may be named again
_DIGEST = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class _Line(msgspec.Struct):
    key: str
    value: msgspec.Raw


class Header(msgspec.Struct):
    """The words, and what the branch is to be at."""

    summary: Annotated[str, msgspec.Meta(max_length=1000)]
    description: Annotated[str, msgspec.Meta(max_length=65536)] = ""
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


class Draft:
    """What was read of a commit so far. Its methods block."""

    def __init__(self, hub: Hub, one: Repository, at: Commit, actor: Actor) -> None:
        """`at` is what the branch is at."""
        self.one = one
        self.changes: list[Change] = []
        self._hub = hub
        self._at = at
        self._actor = actor
        self._header: Header | None = None
        self._readers: Mapping[str, Callable[[msgspec.Raw], Change]] = {
            "file": self._regular,
            "lfsFile": self._large,
            "deletedFile": self._deleted,
            "deletedEntry": self._deleted,
            "deletedFolder": self._deleted_folder,
        }

    def header(self) -> Header:
        if self._header is None:
            raise InvalidInput("The commit has no line with the key `header`.", param="header")
        return self._header

    def add(self, lines: Iterable[bytes]) -> None:
        """Lines; bytes that they carry go into the store.

        Raises:
            InvalidInput: one is none that this server knows.
        """
        for line in lines:
            found = _decoded(line, _Line)
            if found.key == "header":
                self._header = _decoded(found.value, Header)
            else:
                self._add(found)

    def _add(self, found: _Line) -> None:
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
        checked(file.path)
        if file.encoding == "utf-8":
            return Put(file.path, self._hub.keep(file.content.encode("utf-8", "surrogatepass")))
        try:
            data = base64.b64decode(file.content, validate=True)
        except binascii.Error as error:
            raise InvalidInput(f"'{file.path}' is not base64: {error}.", param="content") from error
        return Put(file.path, self._hub.keep(data))

    def _large(self, value: msgspec.Raw) -> Change:
        file = _decoded(value, _Large)
        checked(file.path)
        if not _DIGEST.fullmatch(file.oid):
            raise InvalidInput(f"'{file.oid[:80]}' is no sha256.", param="oid")
        size = self._size(file.oid)
        if size is None:
            raise Lost.of(file.oid)
        if file.size not in {None, size}:
            raise InvalidInput(f"'{file.path}' has {size} bytes, not {file.size}.", param="size")
        return Put(file.path, Entry(file.oid, size, "", ""))

    def _size(self, digest: str) -> int | None:
        """Of bytes that are the caller's to commit: to know their sha256 is not to have them."""
        owner = self.one.owner if self._actor.owns(self.one.owner) else self._actor.user
        size = self._hub.holdings.size(digest, owner)
        return self._hub.blobs.size(digest) if size is None and digest in self._committed else size

    def _deleted(self, value: msgspec.Raw) -> Change:
        path = _decoded(value, _Deleted).path
        return Remove(f"{path}/" if self._tree.has_folder(path) else path)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self._hub.commits.files(self._at))

    @cached_property
    def _committed(self) -> set[str]:
        """What is in the repository, now or not long ago."""
        commits = self._hub.commits
        log = commits.log(self.one.id, self._at)[:_BACK]
        return {entry.digest for at in log for entry in commits.files(at).values()}

    def _deleted_folder(self, value: msgspec.Raw) -> Change:
        return Remove(_decoded(value, _Deleted).path.rstrip("/") + "/")


def checked(path: str) -> bool:
    """
    Raises:
        WrongPath: a file may not be called so.
    """
    try:
        check_path(path)
    except InvalidInput as error:
        raise WrongPath(error.message, hint=error.hint, param="path") from error
    return True


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"A line of the commit cannot be read: {error}.", hint="Mend it."
        ) from error
