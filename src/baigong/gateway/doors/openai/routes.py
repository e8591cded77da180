"""The addresses of the OpenAI door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from baigong.app import Platform
from baigong.gateway.doors.openai.chat import chat
from baigong.gateway.doors.openai.completions import complete
from baigong.gateway.doors.openai.embeddings import embed
from baigong.gateway.doors.openai.files import FilesApi
from baigong.gateway.doors.openai.fine_tuning.endpoints import FineTuningApi
from baigong.gateway.doors.openai.models import ModelsApi
from baigong.gateway.doors.openai.reading import classify, rerank
from baigong.gateway.doors.openai.responses.endpoint import ResponsesApi
from baigong.gateway.doors.openai.vector_stores.endpoints import VectorStoreApi
from baigong.industry.serving import Serving
from baigong.store.files import Files

Endpoint = Callable[[Serving, Request], Awaitable[Response]]


class OpenAiDoor:
    """Everything under `/v1`."""

    def __init__(self, platform: Platform) -> None:
        files = Files(platform.database, platform.blobs)
        self._serving = platform.serving
        self._stores = VectorStoreApi(platform, files)
        self._files = FilesApi(platform, files, self._stores.forget)
        self._tunings = FineTuningApi(platform, files)
        self._models = ModelsApi(platform)
        self._responses = ResponsesApi(platform.serving, self._stores.search_stores)

    def routes(self) -> Mount:
        bound = self._bound
        return Mount(
            "/v1",
            routes=[
                Route("/chat/completions", bound(chat), methods=["POST"]),
                Route("/completions", bound(complete), methods=["POST"]),
                Route("/responses", self._responses.create, methods=["POST"]),
                Route("/embeddings", bound(embed), methods=["POST"]),
                Route("/rerank", bound(rerank), methods=["POST"]),
                Route("/classify", bound(classify), methods=["POST"]),
                *self._models.routes(),
                *self._files.routes(),
                *self._tunings.routes(),
                *self._stores.routes(),
            ],
        )

    async def start(self) -> None:
        """Go on with what was begun in the background before."""
        await self._stores.attaching.resume()
        self._tunings.start()

    async def close(self) -> None:
        """Leave what is done in the background to the next start."""
        await self._tunings.close()
        await self._stores.attaching.close()

    def _bound(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await endpoint(self._serving, request)

        return handle
