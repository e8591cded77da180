"""How addresses are taken apart: as they were sent, for a `/` in a branch's name comes as `%2F`."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from baigong.hub.names import Kind

KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset", "spaces": "recipe"}
PREFIXES: dict[Kind, str] = {"model": "", "dataset": "datasets/", "recipe": "spaces/"}


class RawPath:
    """Lets the routes below see the path before its escapes were read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
        await self._app({**scope, "path": path or scope["path"]}, receive, send)


class _Kind(Convertor[str]):
    regex = "|".join(KINDS)

    @override
    def convert(self, value: str) -> Kind:
        return KINDS[value]

    @override
    def to_string(self, value: str) -> str:
        return next(word for word, kind in KINDS.items() if kind == value)


class _Part(Convertor[str]):
    """One part between slashes; what stands for a branch may be `refs/pr/N` with plain ones."""

    regex = "refs/[^/]+/[^/]+|[^/]+"

    @override
    def convert(self, value: str) -> str:
        return unquote(value)

    @override
    def to_string(self, value: str) -> str:
        return value


class _Rest(_Part):
    """What is left, slashes and all."""

    regex = ".*"


register_url_convertor("kind", _Kind())
register_url_convertor("part", _Part())
register_url_convertor("rest", _Rest())
