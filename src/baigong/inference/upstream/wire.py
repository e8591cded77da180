"""HTTP with one upstream: events as they come, and every way to fail as one of our errors."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import msgspec

from baigong.errors import (
    BaigongError,
    ContextOverflow,
    EngineUnavailable,
    InvalidInput,
    Overloaded,
    Unsupported,
)
from baigong.inference.upstream.settings import Timeouts

_log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 3.0  # uvicorn hangs up after 5, and a request that meets that moment is lost
_SHOWN = 300  # characters of an upstream's own words in an error
_MOST_BYTES = 16 << 20  # of one event; a server that sends more is not one
_RETRY_AFTER_S = 1.0  # where a 429 names no time
_TOO_LONG = re.compile(r"context.{0,20}length|maximum context|context size|too long", re.IGNORECASE)


class Unknown(EngineUnavailable):
    """The upstream does not know a name that it was asked for."""

    code = "unknown_to_upstream"


class CalledPiece(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class CallPiece(msgspec.Struct, frozen=True):
    """A part of a tool call."""

    index: int = 0
    id: str | None = None
    function: CalledPiece = CalledPiece()


class Piece(msgspec.Struct, frozen=True):
    """What a chat's chunk adds to the message. Thoughts have two names among servers."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None


class Logprobs(msgspec.Struct, frozen=True):
    """Scores of a completion's tokens."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class Choice(msgspec.Struct, frozen=True):
    """A chunk's choice, of a completion (`text`) or of a chat (`delta`)."""

    text: str | None = None
    delta: Piece = Piece()
    finish_reason: str | None = None
    logprobs: Logprobs | None = None

    @property
    def said(self) -> str:
        return self.text or self.delta.content or ""

    @property
    def thought(self) -> str:
        return self.delta.reasoning_content or self.delta.reasoning or ""

    @property
    def is_empty(self) -> bool:
        return not (self.said or self.thought or self.delta.tool_calls)


class Counted(msgspec.Struct, frozen=True):
    """Tokens so far, or in all. Some servers write null for none."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a stream."""

    choices: list[Choice] = []
    usage: Counted | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(Chunk)


class Wire:
    """Requests to one server. Belongs to the event loop of its first request."""

    def __init__(self, name: str, url: str, timeouts: Timeouts, key: Callable[[], str | None]):
        self._name = name
        self._url = url
        self._timeouts = timeouts
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, within_s: float) -> Any:
        """The JSON at a path; None where the body is something else.

        Raises:
            BaigongError: as `stream`.
        """
        return _json(await self._whole("GET", path, None, within_s))

    async def post(self, path: str, body: Mapping[str, Any], within_s: float) -> None:
        """Send a body, and see that it was taken.

        Raises:
            BaigongError: as `stream`.
        """
        await self._whole("POST", path, body, within_s)

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Chunk]:
        """The events that answer a body. Closing the iterator hangs up at once.

        Raises:
            EngineUnavailable: it cannot be reached, is late, broke off, or answered with a failure.
            Unknown: it does not know the model.
            Overloaded: it asks to come back later, and says when.
            InvalidInput, ContextOverflow, Unsupported: it refuses what was asked, and says why.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeouts.first_token
        is_first = True
        events = Events()
        response = await self._open("POST", path, body, deadline)
        try:
            while data := await self._read(response, deadline, is_first=is_first):
                spoke = False
                self._limit(len(events.rest) + len(data))
                for event in events.feed(data):
                    if event == b"[DONE]":
                        return
                    chunk = self._decoded(event)
                    spoke = spoke or not all(choice.is_empty for choice in chunk.choices)
                    yield chunk
                if spoke:
                    is_first, deadline = False, now() + self._timeouts.between_tokens
        finally:
            response.close()  # also where there is more to come: that is what aborts the work

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def redacted(self, text: str) -> str:
        """The upstream's words, cut short, and without our key in them."""
        key = self._key()
        return (text.replace(key, "***") if key else text)[:_SHOWN]

    async def _whole(
        self, method: str, path: str, body: Mapping[str, Any] | None, within_s: float
    ) -> bytes:
        deadline = asyncio.get_running_loop().time() + within_s
        response = await self._open(method, path, body, deadline)
        found = b""
        try:
            while data := await self._read(response, deadline, is_first=True):
                found += data
                self._limit(len(found))
        finally:
            response.close()
        return found

    async def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float
    ) -> aiohttp.ClientResponse:
        """The response's head, once it says that all is well."""
        # Compressed, a stream would wait in whatever compresses it.
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if key := self._key():
            headers["authorization"] = f"Bearer {key}"
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._connected().request(
                    method,
                    self._url + path,
                    data=None if body is None else msgspec.json.encode(body),
                    headers=headers,
                    allow_redirects=False,  # a server of ours does not send us elsewhere
                )
                if response.status == 200:
                    return response
                try:
                    text = (await response.content.read(1 << 16)).decode("utf-8", "replace")
                finally:
                    response.close()
        except aiohttp.ServerTimeoutError as error:
            raise self._failure(
                f"could not be connected to within {self._timeouts.connect:g} s"
            ) from error
        except TimeoutError as error:
            raise self._late(is_first=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error
        raise self._refusal(response, text)

    async def _read(
        self, response: aiohttp.ClientResponse, deadline: float, *, is_first: bool
    ) -> bytes:
        try:
            async with asyncio.timeout_at(deadline):
                return await response.content.readany()
        except TimeoutError as error:
            raise self._late(is_first=is_first) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error) from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._timeouts.connect, sock_read=None
                ),
            )
        return self._session

    def _decoded(self, event: bytes) -> Chunk:
        try:
            chunk = _chunk.decode(event)
        except msgspec.DecodeError as error:
            raise self._failure("sent what is not a piece of an answer") from error
        if chunk.error is not None:
            code, message = _told(chunk.error)
            raise self._meaning(code, message)
        return chunk

    def _refusal(self, response: aiohttp.ClientResponse, text: str) -> BaigongError:
        wait = response.headers.get("retry-after", "")
        try:
            _, message = _told(msgspec.json.decode(text))
        except msgspec.DecodeError:
            message = text
        return self._meaning(response.status, message, wait)

    def _meaning(self, status: int, message: str, wait: str = "") -> BaigongError:
        """An upstream's failure as ours; what a caller can mend is told in the upstream's words."""
        message = self.redacted(message.strip())
        said = f"The upstream '{self._name}' says: {message}"
        if status == 429:
            busy = Overloaded(
                f"The upstream '{self._name}' has too much to do.", hint="Ask again later."
            )
            busy.retry_after = _seconds(wait)
            return busy
        if status in {400, 413, 422}:
            kind = ContextOverflow if _TOO_LONG.search(message) else InvalidInput
            return kind(said, hint="Mend the request.")
        if status == 501:
            return Unsupported(said)
        _log.warning("The upstream '%s' answered %d: %s", self._name, status, message)
        if status == 404:
            return Unknown(
                f"The upstream '{self._name}' does not know what it was asked for.", hint=message
            )
        if status in {401, 403}:
            return self._failure("refuses our key")
        if 300 <= status < 400:
            return self._failure("sends us elsewhere, which is not followed")
        return self._failure(f"failed with status {status}")

    def _late(self, *, is_first: bool) -> EngineUnavailable:
        if is_first:
            return self._failure(f"said nothing within {self._timeouts.first_token:g} s")
        return self._failure(f"fell silent for {self._timeouts.between_tokens:g} s")

    def _lost(self, error: Exception) -> EngineUnavailable:
        _log.warning("The upstream '%s': %s", self._name, self.redacted(str(error)))
        if isinstance(error, aiohttp.ClientConnectorError):
            return self._failure("cannot be reached")
        return self._failure("broke the connection off")

    def _failure(self, what: str) -> EngineUnavailable:
        return EngineUnavailable(f"The upstream '{self._name}' {what}.", hint="Ask again.")

    def _limit(self, size: int) -> None:
        if size > _MOST_BYTES:
            raise self._failure("sends far more than was asked for")


class Events:
    """Cuts a stream of bytes into the data of its server-sent events."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of every line that is whole now; comments and other fields are left out."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _told(found: Any) -> tuple[int, str]:
    """(status, words) of an error body, in whichever of the usual shapes it comes."""
    inner = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(inner, dict):
        return 500, str(inner)
    words = inner.get("message") or inner.get("error_message") or inner.get("detail") or inner
    code = inner.get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 500, str(words)


def _seconds(wait: str) -> float:
    """A `retry-after` in seconds; one that is a date, or nonsense, is the shortest."""
    try:
        seconds = float(wait)
    except ValueError:
        return _RETRY_AFTER_S
    return seconds if math.isfinite(seconds) and seconds > 0 else _RETRY_AFTER_S


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
