"""`whoami-v2`, and what is said of users and organisations."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from baigong.gateway.doors.huggingface.wire import actor_of, answering
from baigong.hub.hub import Hub


class AccountsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [Route("/api/whoami-v2", answering(self.whoami))]

    def whoami(self, request: Request) -> dict[str, Any]:
        actor = actor_of(request)
        token = {"displayName": request.state.principal.name, "role": "write"}
        return {
            "type": "user",
            "id": actor.user,
            "name": actor.user,
            "fullname": actor.user,
            "isPro": False,
            "orgs": [
                {"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": "write"}
                for name in actor.organisations
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
