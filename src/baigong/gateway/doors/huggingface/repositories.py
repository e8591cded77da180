"""Repositories are made, moved, changed and deleted."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import Conflict
from baigong.gateway.bodies import convert
from baigong.gateway.doors.huggingface.attributes import ATTRIBUTES, first_attributes
from baigong.gateway.doors.huggingface.wire import TYPES, owned, taking, type_of, url_of
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.hub.access import Actor
from baigong.hub.commits import Put, Words
from baigong.hub.hub import Hub
from baigong.hub.repositories import Repository

Type = Literal["model", "dataset", "space"]
Visibility = Literal["public", "private"]


class _Named(msgspec.Struct):
    """Which repository; without an organisation it is the caller's own."""

    name: str
    organization: str | None = None
    type: Type | None = None

    def full(self, actor: Actor) -> str:
        name = self.name if "/" in self.name else f"{self.organization or actor.user}/{self.name}"
        return name


class _New(_Named):
    """`private` is what clients said before there was `visibility`."""

    visibility: Visibility | None = None
    private: bool | None = None


class _Move(msgspec.Struct):
    from_: str = msgspec.field(name="fromRepo")
    to: str = msgspec.field(name="toRepo")
    type: Type = "model"


class _Changes(msgspec.Struct):
    visibility: Visibility | None = None
    private: bool | None = None
    gated: Literal["auto", "manual", False] | None = None
    discussions_disabled: bool | None = msgspec.field(name="discussionsDisabled", default=None)


class RepositoriesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        settings = "/api/{kind:kind}/{owner:part}/{name:part}/settings"
        return [
            Route("/api/repos/create", taking(self.create), methods=["POST"]),
            Route("/api/repos/delete", taking(self.delete), methods=["DELETE"]),
            Route("/api/repos/move", taking(self.move), methods=["POST"]),
            Route(settings, taking(self.change), methods=["PUT"]),
        ]

    def create(self, request: Request, body: dict[str, Any]) -> Response:
        """A repository with nothing but the file that says which files are large."""
        new, actor = convert(body, _New), actor_of(request)
        kind, name = TYPES[new.type or "model"], new.full(actor)
        actor.check_owns(name.partition("/")[0])
        put = Put(ATTRIBUTES, self._hub.keep(first_attributes(kind)))
        words = Words("initial commit", actor.user)
        private = new.visibility == "private" or bool(new.private)
        try:
            made = self._hub.repositories.create(kind, name, [put], words, private=private)
        except Conflict:
            there = self._hub.repositories.find(kind, name)
            said = {"error": _taken(there), "url": url_of(request, there), "name": there.name}
            return json_reply(said, 409)
        self._hub.refresh(kind, made.name)
        return json_reply({"url": url_of(request, made), "name": made.name, "id": str(made.id)})

    def delete(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        named, actor = convert(body, _Named), actor_of(request)
        one = self._owned(actor, named.type or "model", named.full(actor))
        self._hub.repositories.delete(one)
        return {}

    def move(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        move, actor = convert(body, _Move), actor_of(request)
        one = self._owned(actor, move.type, move.from_)
        actor.check_owns(move.to.partition("/")[0])
        try:
            self._hub.repositories.move(one, move.to)
        except Conflict as error:
            there = self._hub.repositories.find(one.kind, move.to)
            raise Conflict(_taken(there), hint="Use another name.") from error
        return {"url": url_of(request, self._hub.repositories.find(one.kind, move.to))}

    def change(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Who sees it, who must ask before reading it, and whether others may open discussions."""
        one, wanted = owned(self._hub, request), convert(body, _Changes)
        private = wanted.private
        if wanted.visibility is not None:
            private = wanted.visibility == "private"
        settings = one.settings
        if wanted.gated is not None:
            settings = msgspec.structs.replace(settings, gated=wanted.gated or None)
        if wanted.discussions_disabled is not None:
            settings = msgspec.structs.replace(
                settings, discussions=not wanted.discussions_disabled
            )
        self._hub.repositories.change(one, private=private, settings=settings)
        return {"private": one.private if private is None else private}

    def _owned(self, actor: Actor, type: Type, name: str) -> Repository:
        one = self._hub.repositories.seen(TYPES[type], name, actor)
        actor.check_owns(one.owner)
        return one


def _taken(there: Repository) -> str:
    return f"A {type_of(there.kind)} repository called {there.name} already exists"
