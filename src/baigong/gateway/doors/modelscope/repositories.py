"""Repositories are made, described, shown to others or not, and deleted."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import Conflict
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.modelscope.wire import (
    GATED,
    NOT_GATED,
    PRIVATE,
    PUBLIC,
    Exists,
    data_reply,
    kind_of,
    open_reply,
    repository_of,
)
from baigong.gateway.endpoints import actor_of, answering, taking, when
from baigong.hub.about import CARD
from baigong.hub.commits import Put, Words
from baigong.hub.hub import Hub
from baigong.hub.names import Kind
from baigong.hub.repositories import Repository

_FIELDS = 32  # of a form
_GENERAL = 4  # what kind of dataset: files, for whoever reads them
_WORD = re.compile(r"[a-z0-9.+]+")


class New(msgspec.Struct):
    """What a repository begins with. Of a model `Path` is the owner, of a dataset `Owner`."""

    Name: str
    Path: str = ""
    Owner: str = ""
    Visibility: int = PUBLIC
    ProtectedMode: int = NOT_GATED
    License: str | None = None
    ChineseName: str | None = None
    Description: str | None = None


class Change(msgspec.Struct):
    """Who may see a repository. What else the client sends along, its card says."""

    Visibility: int | None = None
    ProtectedMode: int | None = None


class RepositoriesApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        one = "/api/v1/{kinds}/{owner}/{name}"
        return [
            Route("/api/v1/{kinds}", self.create, methods=["POST"]),
            Route(one, answering(self.retrieve), methods=["GET"]),
            Route(one, taking(Change, self.change), methods=["PUT"]),
            Route(one, answering(self.delete), methods=["DELETE"]),
            Route("/openapi/v1/{kinds}/{owner}/{name}", answering(self.describe), methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """A JSON object for models; for datasets a form."""
        kind = kind_of(request)
        is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
        if is_form:
            async with request.form(max_files=0, max_fields=_FIELDS) as form:
                found = {name: str(value) for name, value in form.items()}
            new = convert(found, New, is_text=True)
        else:
            new = convert(await read_object(request), New)
        made = await asyncio.to_thread(self._create, request, kind, new)
        return data_reply(request, described(made))

    def retrieve(self, request: Request) -> Response:
        return data_reply(request, described(repository_of(self._hub, request)))

    def describe(self, request: Request) -> Response:
        """The same in the other dialect."""
        return open_reply(request, summary(repository_of(self._hub, request)))

    def change(self, request: Request, body: Change) -> Response:
        one = repository_of(self._hub, request, to_change=True)
        self._show(one, body.Visibility, body.ProtectedMode)
        return data_reply(request, described(self._hub.repositories.find(one.kind, one.name)))

    def delete(self, request: Request) -> Response:
        self._hub.repositories.delete(repository_of(self._hub, request, to_change=True))
        return data_reply(request, None)

    def _create(self, request: Request, kind: Kind, new: New) -> Repository:
        actor, owner = actor_of(request), new.Path or new.Owner
        actor.check_owns(owner)
        name = f"{owner}/{new.Name}"
        card = Put(CARD, self._hub.keep(_card(new).encode()))
        words = Words("Initial commit", actor.user)
        try:
            one = self._hub.repositories.create(
                kind, name, [card], words, private=new.Visibility != PUBLIC
            )
        except Conflict as error:
            raise Exists(kind, name) from error
        if new.ProtectedMode == GATED:
            self._show(one, None, GATED)
        return self._hub.refresh(kind, name)

    def _show(self, one: Repository, visibility: int | None, protected: int | None) -> None:
        """One that is private and gated there is listed, and asks whoever wants its files."""
        settings = one.settings
        if protected is not None:
            gated = "manual" if protected == GATED else None
            settings = msgspec.structs.replace(settings, gated=gated)
        private = _is_private(one) if visibility is None else visibility != PUBLIC
        self._hub.repositories.change(
            one, private=private and settings.gated is None, settings=settings
        )


def described(one: Repository) -> dict[str, Any]:
    """A repository in `/api/v1`. Its id is a name, which datasets are addressed by as well."""
    return {
        "Id": one.name,
        "Path": one.owner,
        "Name": one.name.partition("/")[2],
        "ChineseName": "",
        "Type": _GENERAL,
        "Visibility": PRIVATE if _is_private(one) else PUBLIC,
        "ProtectedMode": GATED if one.settings.gated else NOT_GATED,
        "License": one.about.license,
        "Description": str(one.about.card.get("description") or ""),
        "Tags": one.about.tags,
        "Tasks": [{"Name": one.about.task, "name": one.about.task}] if one.about.task else [],
        "Libraries": [one.about.library] if one.about.library else [],
        "StorageSize": one.about.size,
        "Downloads": one.downloads,
        "Likes": one.likes,
        "Stars": one.likes,
        "CreatedAt": int(one.created_at),
        "CreatedTime": int(one.created_at),
        "UpdatedAt": int(one.modified_at),
        "LastUpdatedTime": int(one.modified_at),
    }


def summary(one: Repository) -> dict[str, Any]:
    """A repository in `/openapi/v1`."""
    return {
        "id": one.name,
        "display_name": one.name.partition("/")[2],
        "description": str(one.about.card.get("description") or ""),
        "license": one.about.license,
        "tasks": [one.about.task] if one.about.task else [],
        "tags": one.about.tags,
        "downloads": one.downloads,
        "likes": one.likes,
        "file_size": one.about.size,
        "private": one.private,
        "gated": one.settings.gated is not None,
        "created_at": when(one.created_at),
        "last_modified": when(one.modified_at),
    }


def _is_private(one: Repository) -> bool:
    """In the client's sense, where what is gated is private."""
    return one.private or one.settings.gated is not None


def license_of(text: str) -> str:
    """The short name of a licence, which the client may call `Apache License 2.0`."""
    return "-".join(word for word in _WORD.findall(text.lower()) if word != "license")


def _card(new: New) -> str:
    """What a repository says of itself before anybody has written it."""
    license = license_of(new.License or "")
    head = f"---\nlicense: {license}\n---\n" if license else ""
    title = " ".join((new.ChineseName or new.Name).split())
    return f"{head}# {title}\n{new.Description or ''}".rstrip() + "\n"
