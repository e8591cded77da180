"""Logging in, and who one is."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import Unauthorized
from baigong.gateway.auth import MODELSCOPE_COOKIE, MODELSCOPE_LOGIN, Access
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.modelscope.wire import data_reply, open_reply
from baigong.gateway.endpoints import actor_of, answering


class _Login(msgspec.Struct):
    AccessToken: str


class AccountsApi:
    """The endpoints."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> list[Route]:
        return [
            Route(MODELSCOPE_LOGIN.removeprefix("/modelscope"), self.log_in, methods=["POST"]),
            Route("/openapi/v1/users/me", answering(me), methods=["GET"]),
        ]

    async def log_in(self, request: Request) -> Response:
        """The token stands in the body, where older clients have it alone; it stays the credential.

        Raises:
            Unauthorized: it is none.
        """
        token = convert(await read_object(request), _Login).AccessToken
        principal = await self._access.principal(token, request.scope)
        if principal is None:
            raise Unauthorized("The access token is unknown or revoked.")
        data = {"AccessToken": token, "Username": principal.actor.user, "Email": ""}
        reply = data_reply(request, data)
        reply.set_cookie(
            MODELSCOPE_COOKIE,
            token,
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
