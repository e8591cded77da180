"""Who is calling: every style of credential becomes one principal, or a 401."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from baigong.errors import BaigongError, Unauthorized
from baigong.gateway.bodies import read_bytes
from baigong.gateway.keys import Keys, Principal
from baigong.gateway.replies import error_reply
from baigong.hub.access import PLATFORM, Actor, acting
from baigong.types import caller

COOKIE = "baigong_key"
MODELSCOPE_COOKIE = "m_session_id"  # in which its clients send the token that they were given
MODELSCOPE_LOGIN = "/modelscope/api/v1/login"  # which has the token in its body
COOKIE_AGE_S = 30 * 86400
PUBLIC = frozenset({"/health", "/login", "/logout", "/favicon.ico", MODELSCOPE_LOGIN})
PUBLIC_FOLDERS = ("/static/", "/hf/-/")  # the last asks for a ticket of its own
# What Hugging Face's client asks without the key that it has; who calls is not known there.
KEYLESS = frozenset({"/hf/api/validate-yaml", "/hf/api/models-tags-by-type"})
# Where a program calls: no form is shown there.
DOORS = ("/v1/", "/api/", "/hf/", "/modelscope/", "/ollama/")

Refusal = Callable[[Request, BaigongError], Response]
_NO_KEY = Unauthorized(
    "This server needs a key and the request has none.",
    hint="Send `Authorization: Bearer KEY`; `baigong keys create NAME` makes one.",
)
_WRONG_KEY = Unauthorized(
    "The key is unknown or revoked.",
    hint="`baigong keys list` shows the ids of those that are not.",
)
ANYONE = Principal("", "anyone on this machine", PLATFORM)
VISITOR = Principal("", "a visitor", Actor(""))
_SHOWN = re.compile(r"/(hf|modelscope)/(?!api/whoami-v2)")  # what visitors look at
_ASKED = re.compile(r"/hf/api/.*/paths-info/")  # a question that has a body


class Access:
    """Whether keys are asked for at all.

    A server on loopback is open until the first key is made; one that listens beyond never is.
    """

    def __init__(self, keys: Keys, *, may_be_open: bool, has_visitors: bool = False) -> None:
        """`has_visitors`: whether what is public in the hub may be read without a key."""
        self.keys = keys
        self._may_be_open = may_be_open
        self._has_visitors = has_visitors

    def is_open(self) -> bool:
        """Whether a request needs no key."""
        return self._may_be_open and not self.keys.any()

    async def principal(self, credential: str | None, scope: Scope) -> Principal | None:
        """Who holds the credential; anyone where the server is open, or the hub to this request."""
        if self.is_open():
            return ANYONE
        if credential is None:
            return VISITOR if self._has_visitors and _is_look(scope) else None
        known, principal = self.keys.remembered(credential)
        return principal if known else await asyncio.to_thread(self.keys.resolve, credential)


class Auth:
    """Resolves the credential of every request that needs one, into `request.state.principal`."""

    def __init__(
        self, app: ASGIApp, access: Access, refusals: Mapping[str, Refusal] | None = None
    ) -> None:
        """`refusals`: how doors say it whose clients read another dialect, by their path."""
        self._app = app
        self._access = access
        self._refusals = refusals or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_public(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        credential = header_credential(headers) or _cookie(headers)
        principal = await self._access.principal(credential, scope)
        if principal is None and credential is None and scope["path"] in KEYLESS:
            await self._app(scope, receive, send)
            return
        if principal is None:
            await _ask(scope, headers, credential, self._refusals)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        caller.set(principal.id)
        acting.set(principal.actor)
        await self._app(scope, receive, send)


def header_credential(headers: Headers) -> str | None:
    """What stands in `Authorization: Bearer`, `x-api-key` or `api-key`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("api-key")


def login_routes(access: Access) -> list[Route]:
    """Where the console's form puts a key into a cookie, and takes it out again."""

    async def log_in(request: Request) -> Response:
        form = parse_qs((await read_bytes(request, 4096)).decode("utf-8", "replace"))
        key = form.get("key", [""])[0].strip()
        wanted = _local(form.get("next", ["/"])[0])
        if await access.principal(key, request.scope) is None:
            return RedirectResponse(f"/login?wrong=1&next={quote(wanted, safe='')}", 303)
        reply = RedirectResponse(wanted, 303)
        reply.set_cookie(
            COOKIE,
            key,
            max_age=COOKIE_AGE_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return reply

    async def log_out(_request: Request) -> Response:
        reply = RedirectResponse("/login", 303)
        reply.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return reply

    return [
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ]


def _is_look(scope: Scope) -> bool:
    method, path = scope["method"], scope["path"]
    if method in {"GET", "HEAD"}:
        return bool(_SHOWN.match(path))
    return method == "POST" and bool(_ASKED.match(path))


def _is_public(scope: Scope) -> bool:
    """By what is sent and by what it means: a door may look at either."""
    path = scope["path"]
    sent = scope.get("raw_path", b"").decode("latin-1") or path
    return path in PUBLIC or (path.startswith(PUBLIC_FOLDERS) and sent.startswith(PUBLIC_FOLDERS))


def _cookie(headers: Headers) -> str | None:
    cookies = cookie_parser(headers.get("cookie", ""))
    return cookies.get(COOKIE) or cookies.get(MODELSCOPE_COOKIE)


def _ask(
    scope: Scope, headers: Headers, credential: str | None, refusals: Mapping[str, Refusal]
) -> Response:
    """A form for a person at a page, a 401 for everyone else."""
    is_page = scope["method"] == "GET" and not scope["path"].startswith(DOORS)
    if is_page and "text/html" in headers.get("accept", ""):
        path, query = scope["raw_path"].decode(), scope["query_string"].decode("ascii", "replace")
        wanted = f"{path}?{query}" if query else path
        return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
    path, error = scope["path"], _WRONG_KEY if credential else _NO_KEY
    refuse = next((refuse for door, refuse in refusals.items() if path.startswith(door)), None)
    return refuse(Request(scope), error) if refuse else error_reply(error)


def _local(path: str) -> str:
    """A path of this server, never another site's: `//evil` and `/\\evil` are addresses."""
    plain = path.startswith("/") and path[1:2] not in {"/", "\\"} and path.isprintable()
    return path if plain else "/"
