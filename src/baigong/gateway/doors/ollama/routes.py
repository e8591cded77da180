"""The addresses of the Ollama door."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from baigong.app import Platform
from baigong.errors import BaigongError
from baigong.gateway.doors.ollama.answers import AnswersApi
from baigong.gateway.doors.ollama.listing import ListingApi, Named
from baigong.gateway.doors.ollama.making import Copy, MakingApi, New
from baigong.gateway.doors.ollama.pulling import PullingApi
from baigong.gateway.doors.ollama.vectors import VectorsApi
from baigong.gateway.doors.ollama.wire import on_error, on_http_error
from baigong.gateway.endpoints import taking


class OllamaDoor:
    """Everything under `/ollama`."""

    def __init__(self, platform: Platform) -> None:
        self._answers = AnswersApi(platform)
        self._vectors = VectorsApi(platform)
        self._listing = ListingApi(platform)
        self._making = MakingApi(platform)
        self._pulling = PullingApi(platform)

    def routes(self) -> Mount:
        making, listing = self._making, self._listing
        blob = "/api/blobs/{digest}"
        routes = [
            Route("/", alive, methods=["GET"]),
            Route("/api/version", listing.version, methods=["GET"]),
            Route("/api/tags", listing.tags, methods=["GET"]),
            Route("/api/ps", listing.running, methods=["GET"]),
            Route("/api/show", taking(Named, listing.show), methods=["POST"]),
            Route("/api/chat", self._answers.chat, methods=["POST"]),
            Route("/api/generate", self._answers.generate, methods=["POST"]),
            Route("/api/embed", self._vectors.embed, methods=["POST"]),
            Route("/api/embeddings", self._vectors.embeddings, methods=["POST"]),
            Route("/api/pull", self._pulling.pull, methods=["POST"]),
            Route("/api/push", self._pulling.push, methods=["POST"]),
            Route("/api/create", taking(New, making.create), methods=["POST"]),
            Route("/api/copy", taking(Copy, making.copy), methods=["POST"]),
            Route("/api/delete", taking(Named, making.delete), methods=["DELETE"]),
            Route(blob, making.has_blob, methods=["HEAD"]),
            Route(blob, making.keep_blob, methods=["POST"]),
        ]
        handlers: Any = {BaigongError: on_error, HTTPException: on_http_error}
        return Mount(
            "/ollama",
            routes=routes,
            middleware=[Middleware(ExceptionMiddleware, handlers=handlers)],
        )


async def alive(_request: Request) -> Response:
    """What programs look for before they call."""
    return PlainTextResponse("Ollama is running")
