"""`/api/embed`, and `/api/embeddings` as it was before."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from baigong.app import Platform
from baigong.gateway.bodies import convert, read_object, refused
from baigong.gateway.doors.ollama.wire import called
from baigong.gateway.doors.openai.embeddings import encode
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.requests import prompts
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import unless_gone
from baigong.industry.serving import Served
from baigong.inference.static import is_static


class _Embed(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    input: str | list[str]
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class _Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    prompt: str
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class VectorsApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def embed(self, request: Request) -> Response:
        """A vector for each text; of one that is too long, its beginning, unless `truncate` is false."""
        began = time.perf_counter_ns()
        asked = convert(await read_object(request), _Embed)
        vectors, tokens = await self._vectors(
            request, asked.model, asked.input, cuts=asked.truncate is not False
        )
        if asked.dimensions not in {None, len(vectors[0])}:
            raise refused(
                "dimensions",
                f"dimensions: this model's vectors have {len(vectors[0])}.",
                "Leave it out.",
            )
        return json_reply({
            "model": asked.model,
            "embeddings": vectors,
            "total_duration": time.perf_counter_ns() - began,
            "load_duration": 0,
            "prompt_eval_count": tokens,
        })

    async def embeddings(self, request: Request) -> Response:
        """One vector."""
        asked = convert(await read_object(request), _Embeddings)
        vectors, _ = await self._vectors(request, asked.model, asked.prompt, cuts=True)
        return json_reply({"embedding": vectors[0]})

    async def _vectors(
        self, request: Request, model: str, given: str | list[str], *, cuts: bool
    ) -> tuple[list[list[float]], int]:
        name = await asyncio.to_thread(called, self._platform, model, actor_of(request))
        served = await open_model(self._platform.serving, name)
        texts = prompts("input", given if isinstance(given, str) else [*given])
        batches = await asyncio.to_thread(encode, served, texts)
        if cuts:
            batches = await _cut(served, batches)
        vectors = await unless_gone(request, served.embed(batches))
        return vectors, sum(map(len, batches))


async def _cut(served: Served, batches: list[list[int]]) -> list[list[int]]:
    """Each to the model's context, its last token kept: some models read a text there."""
    if is_static(served.base.folder):  # a table has no end
        return batches
    most = (await served.facts()).context
    return [ids if len(ids) <= most else [*ids[: most - 1], ids[-1]] for ids in batches]
