"""Who likes what."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from baigong.gateway.doors.huggingface.wire import repository_of, type_of
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.hub.hub import Hub


class LikesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        root = "/api/{kind:kind}/{owner:part}/{name:part}"
        return [
            Route(f"{root}/like", answering(self.like), methods=["POST"]),
            Route(f"{root}/like", answering(self.unlike), methods=["DELETE"]),
            Route(f"{root}/likers", answering(self.likers)),
            Route("/api/users/{user:part}/likes", answering(self.liked)),
        ]

    def like(self, request: Request) -> dict[str, Any]:
        return self._set(request, likes_it=True)

    def unlike(self, request: Request) -> dict[str, Any]:
        return self._set(request, likes_it=False)

    def likers(self, request: Request) -> list[dict[str, Any]]:
        one = repository_of(self._hub, request)
        return [
            {"user": name, "fullname": name, "avatarUrl": "", "type": "user"}
            for name in self._hub.repositories.likers(one)
        ]

    def liked(self, request: Request) -> list[dict[str, Any]]:
        actor = actor_of(request)
        return [
            {
                "createdAt": when(one.created_at),
                "repo": {"name": one.name, "type": type_of(one.kind)},
            }
            for one in self._hub.repositories.liked_by(request.path_params["user"])
            if one.is_for(actor)
        ]

    def _set(self, request: Request, *, likes_it: bool) -> dict[str, Any]:
        one = repository_of(self._hub, request)
        self._hub.repositories.like(one, actor_of(request).user, likes_it=likes_it)
        return {}
