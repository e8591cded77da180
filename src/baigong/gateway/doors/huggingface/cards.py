"""`validate-yaml`: whether the front matter of a card can be read."""

from __future__ import annotations

import asyncio
from io import StringIO
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.gateway.bodies import convert, read_object
from baigong.gateway.replies import json_reply


class _Card(msgspec.Struct):
    content: str


async def validate(request: Request) -> Response:
    """Errors with 400, warnings with 200."""
    card = convert(await read_object(request), _Card)
    errors, warnings = await asyncio.to_thread(_look, card.content)
    told: dict[str, Any] = {"errors": _messages(errors), "warnings": _messages(warnings)}
    if errors:
        told["error"] = errors[0]
    return json_reply(told, 400 if errors else 200)


ROUTES = [Route("/api/validate-yaml", validate, methods=["POST"])]


def _messages(found: list[str]) -> list[dict[str, str]]:
    return [{"message": message} for message in found]


def _look(content: str) -> tuple[list[str], list[str]]:
    head, mark, rest = content.lstrip().partition("---")
    front, end, _ = rest.partition("\n---")
    if head or not mark or not end:
        return [], ["empty or missing yaml metadata in the card"]
    try:
        found = YAML(typ="safe").load(StringIO(front))
    except YAMLError as error:
        return [f"The YAML cannot be read: {error}"], []
    if not isinstance(found, dict):
        return ["The YAML is not a mapping."] if found else [], []
    if "model-index" in found and not isinstance(found["model-index"], list):
        return ['"model-index" must be an array'], []
    return [], []
