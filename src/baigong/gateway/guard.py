"""What every request passes first: a number for the log, and no tricks played by foreign pages.

While no key exists, being on this machine is the credential, and any page in its owner's browser
is on this machine too. So an open server answers only to loopback names (a page that rebinds its
own name to 127.0.0.1 is refused), and nothing that changes or costs something is taken from a page
of another origin.
"""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from baigong.errors import BaigongError
from baigong.gateway.auth import Access, header_credential
from baigong.gateway.replies import Forbidden, error_reply

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestId:
    """Gives each request an id, in `request.state.request_id` and the `x-request-id` header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class Guard:
    """Refuses foreign pages."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._refusal(scope)) is not None:
            await error_reply(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> BaigongError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._access.is_open() and not is_loopback(_name(host)):
            return Forbidden(
                f"This server has no keys yet, so it does not answer to the name '{host[:100]}'.",
                hint="Call it as http://127.0.0.1, or make a key with `baigong keys create NAME`.",
            )
        if scope["method"] in SAFE or header_credential(headers) is not None:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Forbidden(
                f"A page of {origin[:100]} may not do this here.",
                hint="Send a key in the Authorization header.",
            )
        return None


def is_loopback(name: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The host header without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
