"""`/api/hub`: repositories in lists and searches, what is known of one and its lineage, and likes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert
from baigong.gateway.endpoints import actor_of, answering
from baigong.gateway.replies import json_reply
from baigong.hub.access import Actor
from baigong.hub.hub import Hub
from baigong.hub.names import fold
from baigong.hub.reader import kind_of, made_from
from baigong.hub.repositories import Repository
from baigong.hub.search.listing import Query
from baigong.industry.releases import Content, Releases

_LISTS = {"tags", "names"}  # what an address may say several times
_MADE = 100  # what was made from a repository is told up to here

_Words = Annotated[str, msgspec.Meta(max_length=200)]


class Asked(Query, frozen=True, forbid_unknown_fields=True):
    """A query as an address may bring it."""

    search: _Words = ""
    tags: Annotated[tuple[_Words, ...], msgspec.Meta(max_length=20)] = ()
    names: Annotated[tuple[_Words, ...], msgspec.Meta(max_length=100)] = ()
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0


class HubApi:
    """The endpoints."""

    def __init__(self, hub: Hub, releases: Releases) -> None:
        self._hub = hub
        self._releases = releases

    def routes(self) -> list[Route]:
        one = "/hub/{kinds}/{owner}/{name}"
        return [
            Route("/hub/{kinds}", self.page, methods=["GET"]),
            Route(one, answering(self.show), methods=["GET"]),
            Route(f"{one}/like", answering(self.like), methods=["POST", "DELETE"]),
        ]

    async def page(self, request: Request) -> Response:
        """A page of what fits the query; its words are the fields of `Query`."""
        asked = request.query_params
        found = {n: asked.getlist(n) if n in _LISTS else asked[n] for n in asked}
        query = convert(
            {**found, "kind": kind_of(request.path_params["kinds"])}, Asked, is_text=True
        )
        rows, total = await self._hub.listing.ask(query, actor_of(request))
        return json_reply({"data": [summary(one) for one in rows], "total": total})

    def show(self, request: Request) -> dict[str, Any]:
        """All that is known of one."""
        one, actor = self._one(request), actor_of(request)
        return {
            **summary(one),
            "settings": one.settings,
            "about": one.about,
            "liked": self._hub.repositories.is_liked_by(one, actor.user),
            "refs": [
                {"kind": ref.kind, "name": ref.name, "commit": ref.commit}
                for ref in self._hub.commits.refs(one.id)
            ],
            "lineage": self._lineage(one, actor),
        }

    def like(self, request: Request) -> dict[str, Any]:
        """Like it, or no longer."""
        one, likes_it = self._one(request), request.method == "POST"
        self._hub.repositories.like(one, actor_of(request).user, likes_it=likes_it)
        return {"liked": likes_it, "likes": self._one(request).likes}

    def _one(self, request: Request) -> Repository:
        name = "{owner}/{name}".format_map(request.path_params)
        return self._hub.repositories.seen(
            kind_of(request.path_params["kinds"]), name, actor_of(request)
        )

    def _lineage(self, one: Repository, actor: Actor) -> dict[str, Any]:
        """What it was made from, by revision where that is known, and what was made from it."""
        used = [r for r in self._releases.history() if one.name in _names(_made(r.content))]
        models, _ = self._hub.listing.page(made_from(one, "model", _MADE), actor)
        recipes, _ = self._hub.listing.page(made_from(one, "recipe", _MADE), actor)
        return {
            **self._made_of(one, [release.content for release in used]),
            "adapters": [each.name for each in models if each.about.is_adapter],
            "models": [each.name for each in models if not each.about.is_adapter],
            "recipes": [each.name for each in recipes],
            "releases": [release.ref for release in used],
        }

    def _made_of(self, one: Repository, contents: list[Content]) -> dict[str, list[str]]:
        facts = self._hub.commits.resolve(one.id, one.head).facts
        tuned = [c for c in contents if one.name in _names([c.adapter or ""])]
        datasets = {str(content.lineage.get("dataset") or "") for content in tuned}
        return {
            "bases": _most_exact([str(facts.get("base") or ""), one.about.base, *one.about.bases]),
            "datasets": _most_exact([*sorted(datasets), *one.about.datasets]),
        }


def summary(one: Repository) -> dict[str, Any]:
    """A repository in a list. Times in seconds since the epoch, sizes in bytes."""
    about = one.about
    return {
        "kind": one.kind,
        "name": one.name,
        "private": one.private,
        "task": about.task,
        "library": about.library,
        "license": about.license,
        "languages": about.languages,
        "tags": about.tags,
        "architecture": about.architecture,
        "adapter": about.is_adapter,
        "parameters": about.parameters,
        "size": about.size,
        "downloads": one.downloads,
        "likes": one.likes,
        "created_at": one.created_at,
        "modified_at": one.modified_at,
    }


def _made(content: Content) -> list[str]:
    """The repositories that a release stands on."""
    return [content.base, content.adapter or "", str(content.lineage.get("dataset") or "")]


def _names(refs: list[str]) -> set[str]:
    return {ref.partition("@")[0] for ref in refs if ref}


def _most_exact(refs: list[str]) -> list[str]:
    """Each repository once, by the first ref of it."""
    found: dict[str, str] = {}
    for ref in filter(None, refs):
        found.setdefault(fold(ref.partition("@")[0]), ref)
    return list(found.values())
