"""Gated repositories: who asks to read them, and who is let in."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.bodies import convert
from baigong.gateway.doors.huggingface.wire import owned, repository_of, taking
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.hub.admissions import Admission, Admissions, Status
from baigong.hub.hub import Hub

_STATUSES: tuple[Status, ...] = ("pending", "accepted", "rejected")


class _Decision(msgspec.Struct):
    """Of a user; the id of a request is the user's name too."""

    status: Literal["pending", "accepted", "rejected"]
    user: str | None = None
    id: str | None = msgspec.field(name="requestId", default=None)
    reason: str | None = msgspec.field(name="rejectionReason", default=None)


class _Grant(msgspec.Struct):
    user: str


class AdmissionsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._admissions: Admissions = hub.admissions

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}/user-access-request"
        asks = [
            f"{prefix}/{{owner:part}}/{{name:part}}/ask-access" for prefix in ("/{kind:kind}", "")
        ]
        return [
            Route(f"{root}/handle", taking(self.decide), methods=["POST"]),
            Route(f"{root}/grant", taking(self.grant), methods=["POST"]),
            Route(f"{root}/{{status}}", answering(self.all)),
            *(Route(path, answering(self.ask), methods=["POST"]) for path in asks),
        ]

    def all(self, request: Request) -> list[dict[str, Any]]:
        one, status = owned(self._hub, request), request.path_params["status"]
        if status not in _STATUSES:
            raise InvalidInput(f"A request is one of {', '.join(_STATUSES)}.", param="status")
        return [_told(each) for each in self._admissions.all(one, status)]

    def ask(self, request: Request) -> dict[str, Any]:
        one = repository_of(self._hub, request)
        return {"status": self._admissions.ask(one, actor_of(request).user)}

    def decide(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one, wanted = owned(self._hub, request), convert(body, _Decision)
        user = wanted.user or wanted.id or ""
        self._admissions.decide(one, user, wanted.status, wanted.reason or "")
        return {}

    def grant(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        one = owned(self._hub, request)
        self._admissions.grant(one, convert(body, _Grant).user)
        return {}


def _told(one: Admission) -> dict[str, Any]:
    return {
        "requestId": one.user,
        "user": {"user": one.user, "fullname": one.user},
        "status": one.status,
        "timestamp": when(one.at),
    }
