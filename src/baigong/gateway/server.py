"""Platform → ASGI application: the doors, `/api`, and the pages that the caller brings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from baigong import __version__
from baigong.app import Platform
from baigong.errors import BaigongError
from baigong.gateway.api import Api
from baigong.gateway.auth import Access, Auth, login_routes
from baigong.gateway.doors.huggingface import wire as huggingface
from baigong.gateway.doors.huggingface.routes import HuggingFaceDoor
from baigong.gateway.doors.modelscope import wire as modelscope
from baigong.gateway.doors.modelscope.routes import ModelScopeDoor
from baigong.gateway.doors.ollama import wire as ollama
from baigong.gateway.doors.ollama.routes import OllamaDoor
from baigong.gateway.doors.openai.routes import OpenAiDoor
from baigong.gateway.guard import Guard, RequestId
from baigong.gateway.keys import Keys
from baigong.gateway.replies import json_reply, on_crash, on_error, on_http_error
from baigong.gateway.streams import ClientGone, on_client_gone

# How a request without a key is refused by doors whose clients read a dialect of their own.
REFUSALS = {
    "/hf/": huggingface.unauthorized,
    "/modelscope/": modelscope.on_error,
    "/ollama/": ollama.on_error,
}

_log = logging.getLogger(__name__)


def create_app(
    platform: Platform, pages: Sequence[BaseRoute] = (), *, may_be_open: bool = True
) -> Starlette:
    """The application; it closes `platform` when it stops.

    Args:
        platform: an open installation.
        pages: routes that come after the doors, i.e. the console's.
        may_be_open: answer without a key until the first is made. Only for loopback.
    """
    api, openai = Api(platform), OpenAiDoor(platform)
    access = Access(
        Keys(platform.database, platform.secret),
        may_be_open=may_be_open,
        has_visitors=platform.settings.public_hub,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await platform.upstreams.watch()
        platform.living.watch()
        await openai.start()
        warming = asyncio.create_task(_warm(platform))
        try:
            yield
        finally:
            warming.cancel()
            await api.close()
            await openai.close()
            await platform.close()

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            openai.routes(),
            api.routes(),
            HuggingFaceDoor(platform).routes(),
            ModelScopeDoor(platform, access).routes(),
            OllamaDoor(platform).routes(),
            *login_routes(access),
            *pages,
        ],
        middleware=[
            Middleware(RequestId),
            Middleware(Guard, access=access),
            Middleware(Auth, access=access, refusals=REFUSALS),
        ],
        exception_handlers={
            BaigongError: on_error,
            HTTPException: on_http_error,
            ClientGone: on_client_gone,
            Exception: on_crash,
        },
        lifespan=lifespan,
    )


async def _warm(platform: Platform) -> None:
    """Load lists and what is live, so that nobody's first question waits for them; clear up."""
    await asyncio.to_thread(platform.hub.listing.warm)
    for name in platform.serving.live():
        try:
            await platform.serving.open(name).warm()
        except BaigongError as error:
            _log.warning(
                "%s could not be loaded and will be tried when it is called: %s", name, error
            )
    await asyncio.to_thread(platform.hub.xorbs.clear_leftovers)


async def health(_request: Request) -> Response:
    """For load balancers: the process answers. Needs no key and says nothing else."""
    return json_reply({"status": "ok", "version": __version__})
