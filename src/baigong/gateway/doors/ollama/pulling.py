"""`/api/pull` brings a model here; `/api/push` does not send one elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from baigong.app import Platform
from baigong.errors import NotFound, Unsupported
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.ollama.listing import Named
from baigong.gateway.doors.ollama.wire import Lines, called, guarded, line, opened, split
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import Ahead, unless_gone
from baigong.hub.access import Actor
from baigong.hub.names import MAIN
from baigong.hub.repositories import Repository
from baigong.types import Progress

_HOSTS = ("hf.co/", "huggingface.co/", "modelscope.cn/", "www.modelscope.cn/")


class Wanted(Named, frozen=True, kw_only=True):
    """A model to bring or to send. `insecure` is taken: where names come from is the server's to say."""

    stream: bool | None = None
    insecure: bool | None = None


class PullingApi:
    """The endpoints."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def pull(self, request: Request) -> Response:
        """Success at once for what is here; the rest comes from the hubs that are mirrored."""
        asked = convert(await read_object(request), Wanted)
        steps = Ahead(self._steps(asked.asked, actor_of(request)))
        await unless_gone(request, steps.peek())  # what fails at once has a status yet
        if asked.stream is False:
            return json_reply([step async for step in steps][-1])
        return Lines(guarded(_lines(steps), request), steps)

    async def push(self, request: Request) -> Response:
        """
        Raises:
            NotFound: it is not here.
            Unsupported: it is, and stays.
        """
        asked = convert(await read_object(request), Wanted)
        await asyncio.to_thread(self._check, asked.asked, actor_of(request))
        raise Unsupported(
            f"'{asked.asked[:200]}' is kept on this server, which pushes no model elsewhere for a caller.",
            hint="Its operator may: `baigong push OWNER/NAME --endpoint URL`.",
        )

    def _check(self, name: str, actor: Actor) -> None:
        opened(self._platform, name, called(self._platform, name, actor))

    async def _steps(self, name: str, actor: Actor) -> AsyncGenerator[dict[str, Any]]:
        """What happens, in the client's words."""
        platform, wanted = self._platform, _without_host(name)
        bare, tag = split(wanted)
        if "/" not in bare:
            await asyncio.to_thread(self._check, name, actor)
            yield {"status": "success"}
            return
        revision = tag or MAIN
        try:
            one = await asyncio.to_thread(platform.hub.mirror.seen, "model", bare, actor, revision)
        except NotFound as error:
            raise NotFound(
                f"pull model manifest: there is no '{name[:200]}' here or at a hub that is mirrored.",
                hint="Write owner/name; BAIGONG_MIRRORS says which hubs are asked.",
            ) from error
        yield {"status": "pulling manifest"}
        if one.settings.mirror and not one.settings.pinned:
            async for progress in _completed(platform, one, revision):
                yield {
                    "status": f"pulling {one.name}",
                    "digest": f"sha1:{one.head}",
                    "total": int(progress.total),
                    "completed": int(progress.done),
                }
            yield {"status": "verifying sha256 digest"}
        yield {"status": "success"}


async def _completed(
    platform: Platform, one: Repository, revision: str
) -> AsyncGenerator[Progress]:
    """Every file comes here, in a thread that goes on should nobody listen any more."""
    loop, told = asyncio.get_running_loop(), asyncio.Queue[Progress | None]()

    def report(progress: Progress) -> None:
        loop.call_soon_threadsafe(told.put_nowait, progress)

    def work() -> None:
        try:
            platform.hub.mirror.complete(one, report, revision)
        finally:
            loop.call_soon_threadsafe(told.put_nowait, None)

    working = asyncio.ensure_future(asyncio.to_thread(work))
    while (progress := await told.get()) is not None:
        yield progress
    await working


async def _lines(steps: Ahead[dict[str, Any]]) -> AsyncGenerator[bytes]:
    async for step in steps:
        yield line(step)


def _without_host(name: str) -> str:
    """A hub's host before a name is how this client names models of other hubs."""
    host = next((host for host in _HOSTS if name.startswith(host)), "")
    return name.removeprefix(host)
