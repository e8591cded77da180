"""What a failure looks like on the wire: OpenAI's error object, which our own `/api` shares."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import BaigongError, Conflict, InvalidInput, NotFound, Overloaded

RETRY_AFTER_S = 2

_log = logging.getLogger(__name__)


class WrongMethod(InvalidInput):
    """The address exists and does not take this method."""

    status = 405
    code = "method_not_allowed"


class TooLarge(InvalidInput):
    """The body is larger than the address takes."""

    status = 413
    code = "request_too_large"


class WrongType(InvalidInput):
    """The body is not JSON by its own account."""

    status = 415
    code = "unsupported_media_type"


class Forbidden(BaigongError):
    """A browser page of another site is behind the request."""

    status = 403
    code = "forbidden"


def json_reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    body = msgspec.json.encode(content)
    return Response(body, status, headers=headers, media_type="application/json")


def error_object(error: BaigongError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    }


def error_reply(error: BaigongError) -> Response:
    """The error as a response, saying whether to try again: SDKs retry 409 and 5xx unless told."""
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    if error.retryable:
        wait = error.retry_after if isinstance(error, Overloaded) else RETRY_AFTER_S
        headers["retry-after"] = str(math.ceil(wait))
    if isinstance(error, Conflict):
        del headers["x-should-retry"]
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_reply(error_object(error), error.status, headers)


async def on_error(_request: Request, error: Exception) -> Response:
    """Starlette's handler for our own errors."""
    assert isinstance(error, BaigongError)
    return error_reply(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for addresses and methods that do not exist."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        missing = NotFound(
            f"There is nothing at {where}.", hint="See /v1/models and /api/releases."
        )
        missing.code = "unknown_url"
        return error_reply(missing)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        reply = error_reply(WrongMethod(f"{where} is not allowed.", hint=f"Use {allowed}."))
        reply.headers["allow"] = allowed
        return reply
    refused = BaigongError(error.detail)
    refused.status = error.status_code
    return error_reply(refused)


def crash_error(request: Request) -> BaigongError:
    """What a client is told of an error that nobody foresaw: where to look, not what it was."""
    return BaigongError(
        "Something broke while answering.",
        hint=f"The server's log says what, under {request.state.request_id}.",
    )


def log_crash(request: Request, error: BaseException | None = None) -> None:
    """Say which request it was; the traceback follows when the error reaches the server, where it
    is not given."""
    where = (request.method, request.url.path, request.state.request_id)
    _log.error("%s %s failed, %s", *where, exc_info=error)


async def on_crash(request: Request, _error: Exception) -> Response:
    """The outermost edge."""
    log_crash(request)
    reply = error_reply(crash_error(request))
    reply.headers["x-request-id"] = request.state.request_id
    return reply
