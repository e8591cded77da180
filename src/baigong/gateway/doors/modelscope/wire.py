"""What every endpoint of the ModelScope door shares: envelopes, failures, names of branches.

Two dialects live under one door: `/api/v1` in PascalCase, `/openapi/v1` in snake_case.
"""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError, Conflict, InvalidInput, NotFound
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.hub.commits import Moved
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN, Kind
from baigong.hub.repositories import Repository

MASTER = "master"  # what ModelScope calls the branch main
KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset"}
PRIVATE, PUBLIC = 1, 5
GATED, NOT_GATED = 1, 2

# Numbers that its client knows, whatever the status.
_BRANCH_CHANGED = 10030000001  # a commit is tried again
_EXISTS: dict[Kind, int] = {"model": 10010101001, "dataset": 10020101001}
_STATUSES = {412: 409, 422: 400}  # of errors, those that it would not understand
_WORDS = {
    401: "InvalidAuthentication",
    403: "OperationNotAllowed",
    404: "ResourceNotFound",
    409: "DuplicateEntity",
    429: "RateLimitExceed",
}


class Exists(Conflict):
    """A repository to be made is there."""

    def __init__(self, kind: Kind, name: str) -> None:
        super().__init__(f"The {kind} '{name}' already exists.", hint="Commit to it.")
        self.number = _EXISTS[kind]


def data_reply(request: Request, data: Any, **beside: Any) -> Response:
    """The envelope of `/api/v1`."""
    return json_reply({
        "Code": 200,
        "Success": True,
        "Message": "success",
        "RequestId": request.state.request_id,
        "Data": data,
        **beside,
    })


def open_reply(request: Request, data: Any) -> Response:
    """The envelope of `/openapi/v1`."""
    return json_reply({"success": True, "request_id": request.state.request_id, "data": data})


def on_error(request: Request, error: Exception) -> Response:
    """Our errors in the envelope of the address."""
    assert isinstance(error, BaigongError)
    status = _STATUSES.get(error.status, error.status)
    return _failure(request, status, str(error), _number(error, status))


def on_http_error(request: Request, error: Exception) -> Response:
    """Addresses and methods that do not exist."""
    assert isinstance(error, HTTPException)
    where = f"There is nothing at {request.method} {request.url.path}."
    return _failure(request, error.status_code, where, error.status_code)


def repository_of(hub: Hub, request: Request, *, to_change: bool = False) -> Repository:
    """The repository that the address names. Blocks.

    Raises:
        NotFound: there is none that the caller may see.
        NotYours: `to_change`, and it is somebody else's.
    """
    path, actor = request.path_params, actor_of(request)
    revision = revision_of(path.get("revision") or request.query_params.get("Revision"))
    one = hub.mirror.seen(kind_of(request), f"{path['owner']}/{path['name']}", actor, revision)
    if to_change:
        actor.check_owns(one.owner)
    return one


def kind_of(request: Request) -> Kind:
    """
    Raises:
        NotFound: the address is of something that is not kept here.
    """
    kind = KINDS.get(word := request.path_params["kinds"])
    if kind is None:
        raise NotFound(f"{word[:40]} are not supported here.", hint="Use models or datasets.")
    return kind


def revision_of(wanted: str | None) -> str:
    """A branch, a tag or a commit, by the name that it has here."""
    return MAIN if wanted in {None, "", MASTER} else str(wanted)


def shown_branch(name: str) -> str:
    """The name that the client gives a branch."""
    return MASTER if name == MAIN else name


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """A number from 1 of the query, at most `most`.

    Raises:
        InvalidInput: it is none.
    """
    text = request.query_params.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise InvalidInput(f"{name}: expected a number from 1, got '{text[:40]}'.", param=name)
    return min(int(text or default), most)


def _number(error: BaigongError, status: int) -> int:
    if isinstance(error, Moved):
        return _BRANCH_CHANGED
    return error.number if isinstance(error, Exists) else status


def _failure(request: Request, status: int, message: str, number: int) -> Response:
    id = request.state.request_id
    if "/openapi/" in request.url.path:
        code = _WORDS.get(status, "InputParameterError" if status < 500 else "InternalServerError")
        content = {"success": False, "code": code, "message": message, "request_id": id}
    else:
        content = {"Code": number, "Success": False, "Message": message, "RequestId": id}
    return json_reply(content, status)
