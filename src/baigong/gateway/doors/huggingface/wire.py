"""What every endpoint of the Hugging Face door shares: who calls what, and how failures look."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError, NotFound
from baigong.gateway.doors.huggingface.addresses import KINDS, PREFIXES
from baigong.gateway.endpoints import Endpoint, actor_of
from baigong.gateway.endpoints import taking as shared_taking
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Commit
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN, Kind
from baigong.hub.remote import HF_TYPES
from baigong.hub.repositories import Repository

TYPES: dict[str, Kind] = {type: kind for kind, type in HF_TYPES.items()}
_CODES = {
    "model_not_found": "RepoNotFound",
    "dataset_not_found": "RepoNotFound",
    "recipe_not_found": "RepoNotFound",
    "revision_not_found": "RevisionNotFound",
    "entry_not_found": "EntryNotFound",
    "gated": "GatedRepo",
}
_OF_REPOSITORY = re.compile(rf"/api/({'|'.join(KINDS)})/[^/]+|/resolve/")
_BEFORE_2 = re.compile(r"\bhf_hub/[01]\.")
_LONGEST = 1000  # characters of a message in a header


class NoEntry(NotFound):
    """There is no such file or folder in a revision."""

    code = "entry_not_found"
    commit = ""

    @classmethod
    def of(cls, path: str, commit: Commit) -> NoEntry:
        """Clients keep in mind that a commit has no such file."""
        error = cls(f"There is no '{path[:200]}' in the commit {commit.id[:12]}.")
        error.commit = commit.id
        return error


def repository_of(hub: Hub, request: Request) -> Repository:
    """The repository that the address names, here or mirrored. Blocks.

    Raises:
        NotFound: there is none that the caller may see.
        Unreachable: nobody could be asked for it.
    """
    path = request.path_params
    name = f"{path['owner']}/{path['name']}"
    revision = path.get("revision", MAIN)
    return hub.mirror.seen(path.get("kind", "model"), name, actor_of(request), revision)


def owned(hub: Hub, request: Request) -> Repository:
    """The same, for whoever changes it.

    Raises:
        NotFound: there is none that the caller may see.
        NotYours: it is somebody else's.
    """
    one = repository_of(hub, request)
    actor_of(request).check_owns(one.owner)
    return one


def type_of(kind: Kind) -> str:
    """What the clients call it."""
    return HF_TYPES[kind]


def door(request: Request) -> str:
    """The address that the caller has as its endpoint."""
    return f"{str(request.base_url).rstrip('/')}/hf"


def url_of(request: Request, one: Repository) -> str:
    """A repository's page. Clients before 2.0 take the last part but two for its type, which would
    be our `hf`."""
    prefix = PREFIXES[one.kind]
    if not prefix and _BEFORE_2.search(request.headers.get("user-agent", "")):
        prefix = "models/"
    return f"{door(request)}/{prefix}{one.name}"


def taking(handle: Callable[[Request, dict[str, Any]], Any]) -> Endpoint:
    """An endpoint of what blocks and takes a JSON object, in which it tells itself what it reads."""
    return shared_taking(dict[str, Any], handle)


def on_error(_request: Request, error: Exception) -> Response:
    """An error as these clients know it: a sentence, and a word in a header."""
    assert isinstance(error, BaigongError)
    code = _CODES.get(error.code)
    said = "Repository not found" if code == "RepoNotFound" else str(error)
    headers = {"x-error-message": in_header(said)}
    if code is not None:
        headers["x-error-code"] = code
    if isinstance(error, NoEntry):
        headers["x-repo-commit"] = error.commit
    return json_reply({"error": said}, error.status, headers)


def unauthorized(request: Request, error: BaigongError) -> Response:
    """A 401. Where no key was sent the clients take it for a repository that is not there, as it
    may be for all that the caller may know; a wrong key they name by this very sentence."""
    reply = on_error(request, error)
    if "authorization" in request.headers:
        reply.headers["x-error-message"] = "Invalid credentials in Authorization header"
    elif _OF_REPOSITORY.search(request.url.path):
        reply.headers["x-error-code"] = "RepoNotFound"
    return reply


def on_http_error(request: Request, error: Exception) -> Response:
    """Addresses and methods that do not exist."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    return json_reply({"error": f"There is nothing at {where}."}, error.status_code)


def in_header(text: str) -> str:
    """What a header can carry of a text."""
    plain = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return plain.encode("ascii", "replace").decode()[:_LONGEST]
