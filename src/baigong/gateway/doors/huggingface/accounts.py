"""`whoami-v2`, and what is said of users and organisations."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from baigong.errors import NotFound
from baigong.gateway.doors.huggingface.wire import type_of
from baigong.gateway.endpoints import actor_of, answering, when
from baigong.hub.access import Actor
from baigong.hub.hub import Hub
from baigong.hub.names import Kind, fold
from baigong.hub.search.listing import Query


class AccountsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [
            Route("/api/whoami-v2", answering(self.whoami)),
            Route("/api/users/{name:part}/overview", answering(self.user)),
            Route("/api/organizations/{name:part}/overview", answering(self.organisation)),
            Route("/api/organizations/{name:part}/members", answering(self.members)),
            Route("/api/settings/repositories", answering(self.repositories)),
            Route(
                "/api/organizations/{name:part}/settings/repositories",
                answering(self.repositories),
            ),
        ]

    def whoami(self, request: Request) -> dict[str, Any]:
        actor = actor_of(request)
        token = {"displayName": request.state.principal.name, "role": "write"}
        return {
            "type": "user",
            "id": actor.user,
            "name": actor.user,
            "fullname": actor.user,
            "isPro": False,
            "orgs": [{**_organisation(name), "roleInOrg": "write"} for name in actor.organisations],
            "auth": {"type": "access_token", "accessToken": token},
        }

    def user(self, request: Request) -> dict[str, Any]:
        name, _ = self._named(request, "user")
        organisations = self._hub.namespaces.organisations_of(name)
        return {
            **_user(name),
            **self._counts(name, actor_of(request)),
            "numLikes": len(self._hub.repositories.liked_by(name)),
            "orgs": [_organisation(each) for each in organisations],
        }

    def organisation(self, request: Request) -> dict[str, Any]:
        name, members = self._named(request, "organisation")
        counts = self._counts(name, actor_of(request))
        return {**_organisation(name), **counts, "numUsers": len(members)}

    def members(self, request: Request) -> list[dict[str, Any]]:
        _, members = self._named(request, "organisation")
        return [_user(name) for name in members]

    def repositories(self, request: Request) -> list[dict[str, Any]]:
        """What is the caller's, or an organisation's, and how large it is."""
        actor = actor_of(request)
        owner = request.path_params.get("name", actor.user)
        actor.check_owns(owner)
        return [
            {
                "id": one.name,
                "type": type_of(one.kind),
                "updatedAt": when(one.modified_at),
                "visibility": "private" if one.private else "public",
                "storage": one.about.size,
            }
            for one in self._hub.repositories.all()
            if fold(one.owner) == fold(owner)
        ]

    def _named(self, request: Request, kind: str) -> tuple[str, tuple[str, ...]]:
        """The name as it is written, and the members."""
        name = request.path_params["name"]
        for known, of_kind, members in self._hub.namespaces.all():
            if (fold(known), of_kind) == (fold(name), kind):
                return known, members
        raise NotFound(f"There is no {kind} '{name[:100]}'.")

    def _counts(self, name: str, actor: Actor) -> dict[str, int]:
        kinds: dict[str, Kind] = {
            "numModels": "model",
            "numDatasets": "dataset",
            "numSpaces": "recipe",
        }
        return {
            field: self._hub.listing.page(Query(kind, owner=name, limit=1), actor)[1]
            for field, kind in kinds.items()
        }


def _user(name: str) -> dict[str, Any]:
    return {"type": "user", "user": name, "fullname": name, "avatarUrl": ""}


def _organisation(name: str) -> dict[str, Any]:
    return {"type": "org", "id": name, "name": name, "fullname": name, "avatarUrl": ""}
