"""Lists of repositories in every form that its clients have asked for them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert, read_object, refused
from baigong.gateway.doors.modelscope.repositories import described, license_of, summary
from baigong.gateway.doors.modelscope.wire import data_reply, kind_of, number_of, open_reply
from baigong.gateway.endpoints import actor_of, answering
from baigong.hub.hub import Hub
from baigong.hub.search.listing import Query

_SORTS = {
    "": "modified",
    "default": "trending",
    "downloads": "downloads",
    "likes": "likes",
    "last_modified": "modified",
}
_FILTER = "filter."
_FIELDS = ("task", "library", "license")
_MOST = 100  # of a page


class _Owned(msgspec.Struct):
    """A page of an owner's, as clients before 1.38 ask for it."""

    Path: str = ""
    PageNumber: int = 1
    PageSize: int = 10


class ListingApi:
    """The endpoints."""

    def __init__(self, hub: Hub) -> None:
        self._listing = hub.listing

    def routes(self) -> list[Route]:
        return [
            Route("/openapi/v1/mcp/servers", answering(_no_servers), methods=["GET", "PUT"]),
            Route("/openapi/v1/skills", answering(_no_skills), methods=["GET"]),
            Route("/openapi/v1/{kinds}", self.search, methods=["GET"]),
            Route("/api/v1/{kinds}", self.page, methods=["GET"]),
            Route("/api/v1/{kinds}", self.owned, methods=["PUT"]),
            Route("/api/v1/{kinds}/", self.owned, methods=["PUT"]),
        ]

    async def search(self, request: Request) -> Response:
        """By words, owner and `filter.NAME`, sorted, a page of it."""
        asked, kind = request.query_params, kind_of(request)
        number = number_of(request, "page_number", 1, 1 << 30)
        size = number_of(request, "page_size", 10, _MOST)
        query = Query(
            kind=kind,
            search=asked.get("search", ""),
            owner=asked.get("owner", ""),
            tags=tuple(_tag(n, v) for n, v in asked.multi_items() if n.startswith(_FILTER) and v),
            sort=_sort_of(asked.get("sort", "")),
            limit=size,
            offset=(number - 1) * size,
        )
        found, total = await self._listing.ask(query, actor_of(request))
        return open_reply(
            request,
            {
                f"{kind}s": [summary(one) for one in found],
                "total_count": total,
                "page_number": number,
                "page_size": size,
            },
        )

    async def page(self, request: Request) -> Response:
        """An owner's, or all."""
        number = number_of(request, "PageNumber", 1, 1 << 30)
        size = number_of(request, "PageSize", 50, _MOST)
        found, total = await self._of(request, request.query_params.get("owner", ""), number, size)
        return data_reply(request, found, TotalCount=total, PageNumber=number, PageSize=size)

    async def owned(self, request: Request) -> Response:
        """The same, asked for in a body."""
        body = convert(await read_object(request), _Owned)
        number, size = max(1, body.PageNumber), min(max(1, body.PageSize), _MOST)
        found, total = await self._of(request, body.Path, number, size)
        return data_reply(request, {"Models": found, "TotalCount": total})

    async def _of(
        self, request: Request, owner: str, number: int, size: int
    ) -> tuple[list[dict[str, Any]], int]:
        query = Query(kind=kind_of(request), owner=owner, limit=size, offset=(number - 1) * size)
        found, total = await self._listing.ask(query, actor_of(request))
        return [described(one) for one in found], total


def _sort_of(wanted: str) -> Any:
    if wanted not in _SORTS:
        known = ", ".join(word for word in _SORTS if word)
        raise refused("sort", f"sort: '{wanted[:40]}' is not known.", f"Use one of {known}.")
    return _SORTS[wanted]


def _tag(filter: str, value: str) -> str:
    """What a filter asks for, as the listing knows it; one without a field is any tag."""
    field = filter.removeprefix(_FILTER)
    if field == "license":
        value = license_of(value)
    return f"{field}:{value}" if field in _FIELDS else value


def _no_servers(request: Request) -> Response:
    """What its hub lists beside models and datasets, and what this one has none of."""
    return open_reply(request, {"mcp_server_list": [], "total_count": 0})


def _no_skills(request: Request) -> Response:
    return open_reply(request, {"skills": [], "total_count": 0, "page_number": 1, "page_size": 0})
