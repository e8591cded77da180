"""`GET /v1/models` and `GET /v1/models/{name}`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import NotFound
from baigong.gateway.replies import json_reply
from baigong.industry.serving import Foreign, Served, ServedModel, Serving

T = TypeVar("T")


async def list_models(serving: Serving, _request: Request) -> Response:
    """Live releases, then foundation models, then those of upstreams."""
    models = await asyncio.to_thread(serving.models)
    return json_reply({"object": "list", "data": [_model(model) for model in models]})


async def get_model(serving: Serving, request: Request) -> Response:
    """One model by any name that can be called: `support`, `support@3`, `owner/name`."""
    # The server has decoded `%2F` already, and no name holds a percent sign.
    name = request.path_params["name"]
    for model in await asyncio.to_thread(serving.models):
        if model.name == name:
            return json_reply(_model(model))
    return json_reply(_model(_described(name, await open_model(serving, name))))


async def open_model(serving: Serving, name: str) -> Served:
    """What answers `name`.

    Raises:
        NotFound: under the code that OpenAI's clients know, whatever it was that is missing.
        Unsupported: an upstream answers for it, through chat alone.
    """
    return await _opened(serving.open, name)


async def open_chat(serving: Serving, name: str) -> Served | Foreign:
    """What answers chats under `name`, which may be a model that only an upstream has.

    Raises:
        NotFound: as `open_model`.
    """
    return await _opened(serving.open_chat, name)


async def _opened(find: Callable[[str], T], name: str) -> T:
    try:
        return await asyncio.to_thread(find, name)
    except NotFound as error:
        error.code, error.param = "model_not_found", "model"
        raise


def _described(name: str, served: Served) -> ServedModel:
    """A name that no listing holds: a numbered release, or a model at a revision."""
    owner = "baigong" if served.content is not None else served.base.name.partition("/")[0]
    title = served.content.title if served.content is not None else {}
    return ServedModel(name, served.base.created_at, owner, title=title)


def _model(model: ServedModel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": int(model.created_at),
        "owned_by": model.owner,
    }
    if model.title:
        found["title"] = model.title
    if model.release is not None:
        found["release"] = f"{model.name}@{model.release}"
    return found
