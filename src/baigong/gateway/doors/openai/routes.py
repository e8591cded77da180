"""The addresses of the OpenAI door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from baigong.gateway.doors.openai.chat import chat
from baigong.gateway.doors.openai.completions import complete
from baigong.gateway.doors.openai.embeddings import embed
from baigong.gateway.doors.openai.models import get_model, list_models
from baigong.gateway.doors.openai.reading import classify, rerank
from baigong.industry.serving import Serving

Endpoint = Callable[[Serving, Request], Awaitable[Response]]


def routes(serving: Serving) -> Mount:
    """Everything under `/v1`."""

    def bound(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await endpoint(serving, request)

        return handle

    return Mount(
        "/v1",
        routes=[
            Route("/chat/completions", bound(chat), methods=["POST"]),
            Route("/completions", bound(complete), methods=["POST"]),
            Route("/embeddings", bound(embed), methods=["POST"]),
            Route("/rerank", bound(rerank), methods=["POST"]),
            Route("/classify", bound(classify), methods=["POST"]),
            Route("/models", bound(list_models), methods=["GET"]),
            Route("/models/{name:path}", bound(get_model), methods=["GET"]),
        ],
    )
