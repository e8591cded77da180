"""`/v1/models`: what can be called, and taking back what was fine-tuned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import NotFound
from baigong.gateway.doors.openai.fine_tuning.rows import FineTunings
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import Forbidden, json_reply
from baigong.hub.access import Actor
from baigong.industry.foreign import Foreign
from baigong.industry.serving import Served, ServedModel, Serving

T = TypeVar("T")


class ModelsApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._serving = platform.serving
        self._aliases = platform.aliases
        self._releases = platform.releases
        self._fine_tunings = FineTunings(platform.database)

    def routes(self) -> list[Route]:
        return [
            Route("/models", self.page, methods=["GET"]),
            Route("/models/{name:path}", self.retrieve, methods=["GET"]),
            Route("/models/{name:path}", self.delete, methods=["DELETE"]),
        ]

    async def page(self, _request: Request) -> Response:
        """Live releases and what was fine-tuned, then foundation models, then those of upstreams."""
        models = await asyncio.to_thread(self._serving.models)
        return json_reply({"object": "list", "data": [_model(model) for model in models]})

    async def retrieve(self, request: Request) -> Response:
        """One model by any name that can be called: `support`, `support@3`, `owner/name`."""
        # The server has decoded `%2F` already, and no name holds a percent sign.
        name = request.path_params["name"]
        for model in await asyncio.to_thread(self._serving.models):
            if model.name == name:
                return json_reply(_model(model))
        return json_reply(_model(_described(name, await open_model(self._serving, name))))

    async def delete(self, request: Request) -> Response:
        """Take back the name of a fine-tuned model, and those of its checkpoints. Its release stays
        to be read; other models are not deleted over this protocol."""
        name = request.path_params["name"]
        await asyncio.to_thread(self._delete, name, actor_of(request))
        return json_reply({"id": name, "object": "model", "deleted": True})

    def _delete(self, name: str, actor: Actor) -> None:
        alias = self._aliases.find(name)
        if alias is None:
            _opening(self._serving.open, name)
            raise Forbidden(
                f"'{name}' was not fine-tuned over this protocol, so it is not deleted over it.",
                hint="`baigong releases` shows what is live.",
            )
        if not self._fine_tunings.of(actor.owner).has_called(name.partition(":ckpt-")[0]):
            actor.check_operates()
        self._aliases.delete(name)
        if alias.release is not None:
            release, _, number = alias.release.partition("@")
            if self._releases.live().get(release) == int(number):
                self._releases.retire(release)


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
    return await asyncio.to_thread(_opening, find, name)


def _opening(find: Callable[[str], T], name: str) -> T:
    try:
        return find(name)
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
