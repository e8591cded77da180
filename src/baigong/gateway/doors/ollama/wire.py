"""What every endpoint of the Ollama door shares: failures, lines of JSON, names."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from baigong.app import Platform
from baigong.errors import BaigongError, Conflict, NotFound
from baigong.gateway.replies import crash_error, json_reply, log_crash
from baigong.gateway.streams import Ahead, EventStream, Many
from baigong.hub.access import Actor
from baigong.hub.names import check_name
from baigong.industry.serving import Served

LATEST = "latest"


class Lines(EventStream):
    """Lines of JSON, each sent as it comes."""

    def __init__(self, lines: AsyncGenerator[bytes], source: Ahead[Any] | Many[Any]) -> None:
        super().__init__(lines, source)
        self.headers["content-type"] = "application/x-ndjson"


def line(content: Any) -> bytes:
    """One of them."""
    return msgspec.json.encode(content) + b"\n"


async def guarded(lines: AsyncGenerator[bytes], request: Request) -> AsyncGenerator[bytes]:
    """`lines`, with a failure told as the last of them."""
    try:
        async for each in lines:
            yield each
    except BaigongError as error:
        yield line({"error": str(error)})
    except Exception:
        log_crash(request)
        yield line({"error": str(crash_error(request))})
        raise


def on_error(_request: Request, error: Exception) -> Response:
    """Our errors as this client reads them."""
    assert isinstance(error, BaigongError)
    return json_reply({"error": str(error)}, error.status)


def on_http_error(request: Request, error: Exception) -> Response:
    """Addresses and methods that do not exist."""
    assert isinstance(error, HTTPException)
    where = f"There is nothing at {request.method} {request.url.path}."
    return json_reply({"error": where}, error.status_code)


def split(name: str) -> tuple[str, str]:
    """A name and its tag, which is empty where it is `latest` or left out."""
    bare, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, ""
    return bare, "" if tag == LATEST else tag


def called(platform: Platform, name: str, actor: Actor) -> str:
    """What is served under a name of this client: a tag is the number of a release or a revision of
    a repository, and without a namespace it may be the caller's own. Blocks."""
    if platform.aliases.find(name) is not None:
        return name
    bare, tag = split(name)
    at = f"@{tag}" if tag else ""
    is_taken = bare in platform.releases.live() or platform.hub.is_built_in(bare)
    if "/" in bare or is_taken:
        return bare + at
    mine = f"{actor.user}/{bare}"
    return (mine if platform.hub.repositories.exists("model", mine) else bare) + at


def target(platform: Platform, name: str, actor: Actor) -> tuple[str, str]:
    """The repository that a name writes to, and the tag to put there, if any. Blocks.

    Raises:
        InvalidInput: a repository may not be called so.
        NotYours: it, or what has taken its place, is somebody else's.
        Conflict: the short name is that of a release or of a built-in model.
    """
    bare, tag = split(name)
    if "/" in bare:
        actor.check_owns(bare.partition("/")[0])
        _check(platform, bare, actor)
        return bare, tag
    mine = f"{actor.user}/{bare}"
    _check(platform, mine, actor)
    if bare in platform.releases.live() or platform.hub.is_built_in(bare):
        raise Conflict(f"There is a model '{bare}' already.", hint=f"Call it '{mine}'.")
    return mine, tag


def _check(platform: Platform, name: str, actor: Actor) -> None:
    check_name(name)  # files are made of it before there is a repository
    repositories = platform.hub.repositories
    if repositories.exists("model", name):  # which may have moved to another owner
        actor.check_owns(repositories.seen("model", name, actor).owner)


def opened(platform: Platform, asked: str, name: str) -> Served:
    """What answers a name. Blocks.

    Raises:
        NotFound: nothing does; in the client's words for what it `asked`.
        Unsupported: only an upstream has it.
    """
    try:
        return platform.serving.open(name)
    except NotFound as error:
        if error.code != "model_not_found":  # it is here, and what it stands on is not
            raise
        raise NotFound(f"model '{asked[:200]}' not found", param="model") from error
