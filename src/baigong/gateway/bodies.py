"""From the bytes of a request to a checked struct, with errors that name the field and the value."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from baigong.errors import InvalidInput
from baigong.gateway.replies import TooLarge, WrongType

T = TypeVar("T")

LIMIT_BYTES = 16 << 20
_SHOWN = 80  # characters of a wrong value that are repeated back
_FAILURE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>.*)`")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>.*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


async def read_object(request: Request, limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        WrongType: the content type says that it is something else.
        TooLarge: it is longer than `limit_bytes`.
        InvalidInput: it is not JSON, or not an object.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise WrongType(
            f"The body has content type '{kind[:_SHOWN]}'.",
            hint="Send JSON with `Content-Type: application/json`.",
        )
    body = await read_bytes(request, limit_bytes)
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The body is not valid JSON: {error}.", hint="Mend it.") from error
    if not isinstance(found, dict):
        raise InvalidInput("The body must be a JSON object.", hint="Send {...}.")
    return found


async def read_bytes(request: Request, limit_bytes: int) -> bytes:
    """The body, refused as soon as it is seen to be longer than `limit_bytes`."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise TooLarge(
                f"The body is longer than {limit_bytes} bytes.", hint="Send less at once."
            )
        parts.append(part)
    return b"".join(parts)


def convert(found: dict[str, Any], kind: type[T], *, is_text: bool = False) -> T:
    """`found` as a struct; numbers and booleans may be `is_text`, as in an address.

    Raises:
        InvalidInput: naming the field, what was expected and what was found.
    """
    try:
        return msgspec.convert(found, kind, strict=not is_text)
    except msgspec.ValidationError as error:
        raise _named(found, str(error)) from error


def shown(value: Any) -> str:
    """A value as it may be repeated back in a message."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def refused(field: str, message: str, hint: str = "") -> InvalidInput:
    """The error for a well-formed parameter that cannot be honoured."""
    error = InvalidInput(message, hint=hint, param=field)
    error.code = "unsupported_parameter"
    return error


def _named(found: dict[str, Any], failure: str) -> InvalidInput:
    match = _FAILURE.match(failure)
    assert match is not None  # the pattern takes any text
    what, path = match["what"], (match["path"] or "").partition("[...]")[0]  # any of a dict's
    if missing := _MISSING.search(what):
        field = f"{path}.{missing['field']}".lstrip(".")
        return InvalidInput(f"The field '{field}' is missing.", param=field)
    if unknown := _UNKNOWN.search(what):
        field = f"{path}.{unknown['field']}".lstrip(".")
        return InvalidInput(
            f"The field '{field[:_SHOWN]}' is not known here.",
            hint="Leave it out.",
            param=field[:_SHOWN],
        )
    field = path.lstrip(".")
    value = shown(_at(found, path))
    what = what.partition(", got ")[0]
    return InvalidInput(f"{field}: {what[:1].lower()}{what[1:]}, got {value}.", param=field)


def _at(found: Any, path: str) -> Any:
    for key, index in _STEP.findall(path):
        found = found[key] if key else found[int(index)]
    return found
