"""`validate-yaml`: whether the front matter of a card can be read."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.huggingface.wire import TYPES
from baigong.gateway.replies import json_reply
from baigong.hub.cards import Verdict, validate

_LONGEST = 4 << 20  # bytes of a body
_LONGEST_KEYLESS = 8192  # characters that are looked over for nobody knows whom


class _Card(msgspec.Struct):
    content: str
    type: Literal["model", "dataset", "space"] = msgspec.field(name="repoType", default="model")


class CardsApi:
    """The endpoint."""

    def __init__(self) -> None:
        self._looking = asyncio.Semaphore(1)  # a long card takes a second of the processor

    def routes(self) -> list[Route]:
        return [Route("/api/validate-yaml", self.validate, methods=["POST"])]

    async def validate(self, request: Request) -> Response:
        """Errors with 400, warnings with 200."""
        card = convert(await read_object(request, _LONGEST), _Card)
        verdict = Verdict()
        if hasattr(request.state, "principal") or len(card.content) <= _LONGEST_KEYLESS:
            async with self._looking:
                verdict = await asyncio.to_thread(validate, card.content, TYPES[card.type])
        told: dict[str, Any] = {
            "errors": [{"message": message} for message in verdict.errors],
            "warnings": [{"message": message} for message in verdict.warnings],
        }
        if verdict.errors:
            told["error"] = verdict.errors[0]
        return json_reply(told, 400 if verdict.errors else 200)
