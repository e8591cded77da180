"""Addresses that clients print for people to open: they lead to the console's pages."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from baigong.hub.names import MAIN

_VERBS = ("tree", "blob", "commit", "commits", "discussions")


def routes() -> list[Route]:
    """They come last: two words may be many things."""
    ones = [f"{prefix}/{{owner:part}}/{{name:part}}" for prefix in ("/{kind:kind}", "")]
    ends = ["", "/{verb}/{revision:part}", "/{verb}/{revision:part}/{path:rest}"]
    return [Route(f"{one}{end}", show, methods=["GET"]) for one in ones for end in ends]


async def show(request: Request) -> Response:
    """The page of a repository, or of something in it."""
    path, query = request.path_params, {}
    verb, inside = path.get("verb", ""), path.get("path", "")
    if verb and verb not in _VERBS:
        raise HTTPException(404)
    page = {"tree": "/files", "commit": "/files", "commits": "/history"}.get(verb, "")
    if verb == "blob":
        page = f"/file/{quote(inside)}"
    elif inside:
        query["folder"] = inside
    if verb != "discussions" and path.get("revision", MAIN) != MAIN:
        query["revision"] = path["revision"]
    place = f"/hub/{path.get('kind', 'model')}s/{quote(path['owner'])}/{quote(path['name'])}"
    return RedirectResponse(f"{place}{page}{'?' if query else ''}{urlencode(query)}", 302)
