"""Logging in, and who one is."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.auth import MODELSCOPE_COOKIE
from baigong.gateway.doors.modelscope.wire import data_reply, open_reply
from baigong.gateway.endpoints import actor_of, answering, taking


class _Login(msgspec.Struct):
    AccessToken: str


def account_routes() -> list[Route]:
    return [
        Route("/api/v1/login", taking(_Login, log_in), methods=["POST"]),
        Route("/openapi/v1/users/me", answering(me), methods=["GET"]),
    ]


def log_in(request: Request, body: _Login) -> Response:
    """Whoever gets here was let in by the very token, which stays the credential."""
    user = actor_of(request).user
    data = {"AccessToken": body.AccessToken, "Username": user, "Email": ""}
    reply = data_reply(request, data)
    reply.set_cookie(
        MODELSCOPE_COOKIE,
        body.AccessToken,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return reply


def me(request: Request) -> Response:
    actor = actor_of(request)
    data: dict[str, Any] = {
        "id": actor.user,
        "username": actor.user,
        "email": "",
        "organizations": list(actor.organisations),
    }
    return open_reply(request, data)
