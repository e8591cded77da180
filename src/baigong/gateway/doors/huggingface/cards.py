"""`validate-yaml`: whether the front matter of a card can be read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert
from baigong.gateway.doors.huggingface.wire import TYPES, taking
from baigong.gateway.replies import json_reply
from baigong.hub.cards import validate


class _Card(msgspec.Struct):
    content: str
    type: Literal["model", "dataset", "space"] = msgspec.field(name="repoType", default="model")


def look(_request: Request, body: dict[str, Any]) -> Response:
    """Errors with 400, warnings with 200."""
    card = convert(body, _Card)
    verdict = validate(card.content, TYPES[card.type])
    told: dict[str, Any] = {
        "errors": [{"message": message} for message in verdict.errors],
        "warnings": [{"message": message} for message in verdict.warnings],
    }
    if verdict.errors:
        told["error"] = verdict.errors[0]
    return json_reply(told, 400 if verdict.errors else 200)


ROUTES = [Route("/api/validate-yaml", taking(look), methods=["POST"])]
