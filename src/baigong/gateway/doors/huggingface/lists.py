"""`list_models` and its siblings: searches and filters, page by page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.errors import InvalidInput
from baigong.gateway.doors.huggingface.info import LISTED, describe, expanded, listed
from baigong.gateway.doors.huggingface.tree import is_true
from baigong.gateway.endpoints import actor_of, answering
from baigong.gateway.replies import json_reply
from baigong.hub.access import Actor
from baigong.hub.hub import Hub
from baigong.hub.names import Kind
from baigong.hub.repositories import Repository
from baigong.hub.search.listing import Query
from baigong.hub.search.shelf import Sort
from baigong.model.terms import LICENSES, TASKS

_PAGE = 1000
_PAGE_WITH_FILES = 100
_SORTS: dict[str, Sort] = {
    "lastModified": "modified",
    "last_modified": "modified",
    "createdAt": "created",
    "created_at": "created",
    "downloads": "downloads",
    "likes": "likes",
    "trendingScore": "trending",
    "trending_score": "trending",
}
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BOUND = re.compile(r"(min|max):(\d{1,18}(?:\.\d{1,9})?)([KMBT]?)", re.ASCII)
# What is run elsewhere for everybody, which nothing here is.
_ELSEWHERE = frozenset({"inference", "inference_provider", "apps", "benchmark"})


class ListsApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def routes(self) -> list[Route]:
        return [
            Route("/api/{kind:kind}", self.page),
            Route("/api/models-tags-by-type", answering(tags)),
            Route("/api/datasets-tags-by-type", answering(tags)),
        ]

    async def page(self, request: Request) -> Response:
        """Those that the query fits; the next page is in a `Link`."""
        kind, query, actor = request.path_params["kind"], request.query_params, actor_of(request)
        names, wanted = _names(kind, query), _query(kind, query)
        if "siblings" in names:
            wanted = _with(wanted, limit=min(wanted.limit, _PAGE_WITH_FILES))
        rows, following = await self._page(query, wanted, actor)
        headers = {}
        if following is not None:
            headers["link"] = f'<{request.url.include_query_params(cursor=following)}>; rel="next"'
        if {"cardData", "siblings", "model-index"} & set(names):
            told = await asyncio.to_thread(self._described, rows, names)
        else:
            told = [listed(one, names) for one in rows]
        return json_reply(told, headers=headers)

    async def _page(
        self, query: QueryParams, wanted: Query, actor: Actor
    ) -> tuple[list[Repository], int | None]:
        """The rows, and where the next page begins."""
        if _ELSEWHERE & query.keys():
            return [], None
        if "gated" in query:
            return await asyncio.to_thread(self._gated, wanted, actor, is_true(query["gated"]))
        rows, total = await self._hub.listing.ask(wanted, actor)
        end = wanted.offset + len(rows)
        return rows, end if end < total else None

    def _gated(
        self, wanted: Query, actor: Actor, is_gated: bool
    ) -> tuple[list[Repository], int | None]:
        """A page of those that are gated, or are not, and where the next begins."""
        found: list[Repository] = []
        for at, one in self._rows(_with(wanted, limit=_PAGE), actor):
            if len(found) == wanted.limit:
                return found, at
            if (one.settings.gated is not None) == is_gated:
                found.append(one)
        return found, None

    def _rows(self, query: Query, actor: Actor) -> Iterator[tuple[int, Repository]]:
        at, total = query.offset, query.offset + 1
        while at < total:
            rows, total = self._hub.listing.page(_with(query, offset=at), actor)
            yield from enumerate(rows, at)
            at += max(1, len(rows))

    def _described(self, rows: Sequence[Repository], names: Sequence[str]) -> list[dict[str, Any]]:
        """With what lists in memory leave out."""
        hub, told = self._hub, []
        for row in rows:
            one = hub.repositories.find(row.kind, row.name)
            told.append(describe(hub, one, hub.commits.resolve(one.id, one.head), names))
        return told


def tags(_request: Request) -> dict[str, Any]:
    """What cards are known to say."""

    def listed_as(type: str, ids: frozenset[str], prefix: str = "") -> list[dict[str, str]]:
        return [{"id": f"{prefix}{id}", "label": id, "type": type} for id in sorted(ids)]

    licenses = listed_as("license", LICENSES, "license:")
    return {"pipeline_tag": listed_as("pipeline_tag", TASKS), "license": licenses}


def _query(kind: Kind, query: QueryParams) -> Query:
    bounds = _bounds(query.get("num_parameters", ""))
    return Query(
        kind,
        search=" ".join(query.getlist("search")),
        owner=query.get("author", ""),
        tags=tuple(tag for each in query.getlist("filter") for tag in each.split(",") if tag),
        task=query.get("pipeline_tag", ""),
        library=query.get("library", ""),
        min_parameters=bounds.get("min", 0),
        max_parameters=bounds.get("max", 0),
        sort=_sort(query.get("sort", "lastModified")),
        falling=query.get("direction", "-1") != "1",
        limit=max(1, min(_number(query, "limit", _PAGE), _PAGE)),
        offset=_number(query, "cursor", 0),
    )


def _names(kind: Kind, query: QueryParams) -> list[str]:
    """The properties that are shown of each."""
    if names := expanded(kind, query):
        return names
    more = {"cardData": ["cardData"], "config": ["config"], "full": ["siblings", "cardData"]}
    asked = [name for flag, names in more.items() if is_true(query.get(flag)) for name in names]
    return [*LISTED, *asked]


def _bounds(text: str) -> dict[str, int]:
    """`min:6B,max:128B` in numbers."""
    found = {}
    for part in filter(None, text.split(",")):
        if (bound := _BOUND.fullmatch(part.strip())) is None:
            raise InvalidInput(
                f"'{part[:80]}' bounds no number of parameters.",
                hint="Write min:6B,max:128B.",
                param="num_parameters",
            )
        found[bound[1]] = int(float(bound[2]) * _SIZES[bound[3]])
    return found


def _sort(name: str) -> Sort:
    if name not in _SORTS:
        known = ", ".join(_SORTS)
        raise InvalidInput(f"'{name[:80]}' is no order.", hint=f"Use {known}.", param="sort")
    return _SORTS[name]


def _number(query: QueryParams, name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text[:9]) if text.isdecimal() else default


def _with(query: Query, **fields: int) -> Query:
    return msgspec.structs.replace(query, **fields)
