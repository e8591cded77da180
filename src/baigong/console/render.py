"""Templates made into pages: in the reader's language, under a policy that lets nothing foreign in."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from baigong import __version__
from baigong.console.words import COOKIE, language_of, speaker
from baigong.errors import BaigongError
from baigong.hub.access import Actor

HEADERS = {
    # No inline script or style at all, so that text which slips through escaping stays text.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Elsewhere nothing is told; with "no-referrer" a form here would not say whose it is either (Origin: null).
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
YEAR_S = 365 * 86400

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("baigong.console"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

Pages = TypeVar("Pages")
Endpoint = Callable[[Pages, Request], Awaitable[Response]]


def shown(endpoint: Endpoint[Pages]) -> Endpoint[Pages]:
    """The endpoint, its failures told on a page instead of in JSON."""

    @functools.wraps(endpoint)
    async def show(pages: Pages, request: Request) -> Response:
        try:
            return await endpoint(pages, request)
        except BaigongError as error:
            return render(request, "problem.html", error.status, message=str(error))

    return show


def render(
    request: Request, template: str, status: int = 200, *, twin: str = "", **holds: Any
) -> Response:
    """A page; `twin` is where its JSON is."""
    language = language_of(request)
    principal = getattr(request.state, "principal", None)
    other = request.url.include_query_params(lang="en" if language == "zh" else "zh")
    body = _templates.get_template(template).render(
        t=speaker(language),
        language=language,
        other_language=f"{path_of(request)}?{other.query}",
        version=__version__,
        twin=twin,
        signed_in=bool(principal is not None and principal.id),
        **holds,
    )
    reply = HTMLResponse(body, status, headers=HEADERS)
    reply.headers["content-language"] = language
    reply.headers["vary"] = "accept-language, cookie"
    if request.query_params.get("lang") == language:
        reply.set_cookie(COOKIE, language, max_age=YEAR_S, samesite="lax")
    return reply


def actor_of(request: Request) -> Actor:
    """Who asks."""
    found: Actor = request.state.principal.actor
    return found


def path_of(request: Request) -> str:
    """The path as it was sent, its escapes unread."""
    raw: bytes = request.scope["raw_path"]
    return raw.partition(b"?")[0].decode("ascii", "replace")
