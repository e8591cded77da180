"""GET for addresses that anybody may have written: only public servers, with an end to everything.

The address that is checked is the one that is connected to, at every redirect anew, so that a name
which means another machine the next moment (DNS rebinding) reaches nothing inside.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import httpx2
import msgspec
from typing_extensions import override

import baigong
from baigong.errors import InvalidInput, Unreachable
from baigong.knowledge.connectors.public import addresses
from baigong.knowledge.connectors.unpack import Torn, unpack

AGENT = "baigong"
_REDIRECTS = 5
_TRIES = 3
_BACKOFF_S = 0.5
_IDLE_S = 20.0
_TIMEOUTS = {"connect": 10.0, "read": _IDLE_S, "write": _IDLE_S, "pool": _IDLE_S}
_LONGEST_WAIT_S = 30.0  # what a server may ask for by Retry-After and still be waited for
_AGAIN = {429, 500, 502, 503, 504}
_deadline: ContextVar[float] = ContextVar("deadline")


class Response(msgspec.Struct, frozen=True):
    """What came back. `url` is where redirects ended, `status` 2xx, 304, 404 or 410.

    Attributes:
        headers: by lower-case name.
        data: decompressed.
    """

    url: str
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def kind(self) -> str:
        """The content type, without its parameters, e.g. "text/html"; may be empty."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def validators(self) -> tuple[str, str]:
        """Its ETag and its time of change, to ask with the next time; empty where there is none."""
        told = (self.headers.get("etag", ""), self.headers.get("last-modified", ""))
        etag, modified = (each if each.isascii() and each.isprintable() else "" for each in told)
        return etag, modified

    @property
    def is_gone(self) -> bool:
        return self.status in {404, 410}


class Fetcher:
    """Connections to servers, a few for each and not too fast. Threads may share it."""

    def __init__(
        self, allow: Sequence[str] = (), *, delay_s: float = 0.2, total_s: float = 300.0
    ) -> None:
        """`allow` names hosts that may be private ones, e.g. `wiki.intra`.

        `delay_s` is between two requests to one host, `total_s` bounds one `get`.
        """
        self.allow = tuple(allow)
        self._total_s = total_s
        self._pace = _Pace(delay_s)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_trust(),
            max_connections=4,
            keepalive_expiry=30.0,
            network_backend=_Checked(self.allow),
        )
        weakref.finalize(self, self._pool.close)  # a source has no end of its own

    def get(
        self,
        url: str,
        *,
        most: int,
        headers: Mapping[str, str] | None = None,
        head_only: bool = False,
    ) -> Response:
        """What is at `url`. Blocks; tries again where that may help.

        Args:
            most: bytes, packed or unpacked, after which it is too large.
            headers: to send beside our own.
            head_only: stop at `most` bytes and give these.

        Raises:
            InvalidInput: the address is not public or not HTTP, or what it holds is too large, or
                the server refuses.
            Unreachable: the server does not answer, or not in time.
        """
        token = _deadline.set(time.monotonic() + self._total_s)
        try:
            return self._follow(read_url(url), most, dict(headers or {}), head_only)
        finally:
            _deadline.reset(token)

    def get_changed(self, url: str, validators: tuple[str, str], *, most: int) -> Response:
        """As `get`, with status 304 and no data where it is what `validators` stand for."""
        told = zip(("If-None-Match", "If-Modified-Since"), validators, strict=True)
        return self.get(url, most=most, headers={name: value for name, value in told if value})

    def slow_down(self, host: str, delay_s: float) -> None:
        """Leave at least so much between requests to a host, as its robots.txt asks."""
        self._pace.delays[host] = delay_s

    def _follow(
        self, url: httpx2.URL, most: int, headers: dict[str, str], head_only: bool
    ) -> Response:
        first = url
        for _ in range(_REDIRECTS + 1):
            response = self._persist(url, most, headers, head_only)
            target = response.headers.get("location")
            if response.status not in {301, 302, 303, 307, 308} or not target:
                return _accepted(response)
            url = read_url(_joined(url, target))
        raise InvalidInput(
            f"{shown(first)} redirects more than {_REDIRECTS} times.",
            hint="Open it in a browser and give the address where that ends.",
            param="sources",
        )

    def _persist(
        self, url: httpx2.URL, most: int, headers: dict[str, str], head_only: bool
    ) -> Response:
        """One address, tried a few times."""
        why: Exception | None = None
        for tried in range(_TRIES):
            wait = _BACKOFF_S * 2**tried
            try:
                self._pace.wait(url.host)
                response = self._once(url, most, headers, head_only)
            except (httpcore2.NetworkError, httpcore2.ProtocolError, Torn) as error:
                why = error
            except httpcore2.TimeoutException as error:
                why = error
                if time.monotonic() >= _deadline.get():
                    break
            else:
                if response.status not in _AGAIN:
                    return response
                why = Torn(f"it answers with status {response.status}")
                wait = max(wait, _retry_after(response))
            if wait > _LONGEST_WAIT_S or tried == _TRIES - 1:
                break
            time.sleep(max(0.0, min(wait, _deadline.get() - time.monotonic())))
        raise Unreachable(
            f"{shown(url)} could not be fetched: {_words(why)}.",
            hint="Check the address and try again later; what was read before is kept.",
        ) from why

    def _once(
        self, url: httpx2.URL, most: int, headers: dict[str, str], head_only: bool
    ) -> Response:
        asked: dict[bytes | str, bytes | str] = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": f"{AGENT}/{baigong.__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
        }
        asked.update(headers)
        with self._pool.stream(
            "GET", _wire(url), headers=asked, extensions={"timeout": _TIMEOUTS}
        ) as answer:
            told = {
                name.decode("latin-1").lower(): value.decode("utf-8", "replace")
                for name, value in answer.headers
            }
            data = b""
            if 200 <= answer.status < 300:
                data = _body(url, answer.iter_stream(), told, most, head_only)
            return Response(str(url), answer.status, told, data)


def read_url(text: str) -> httpx2.URL:
    """An address as it is requested: lower-case host, a path, no fragment.

    Raises:
        InvalidInput: it is none, is not HTTP, or holds a name and password.
    """
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidInput(
            f"'{shown(text)}' is not an address.", hint="Check its spelling.", param="sources"
        ) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidInput(
            f"'{shown(text)}' is not an address on the web.",
            hint="Give one that begins with https://.",
            param="sources",
        )
    if url.userinfo:
        raise InvalidInput(
            f"'{shown(text)}' was given with a name or password, which would be stored.",
            hint="Leave out what stands before the @; pages behind a login cannot be read.",
            param="sources",
        )
    return url.copy_with(raw_path=url.raw_path, fragment=None)  # a bare host is its front page


def shown(url: object) -> str:
    """An address for a message: without name and password, and not endless."""
    text = re.sub(r"//[^/?#\s]*@", "//", str(url))
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", text if len(text) <= 500 else f"{text[:500]}…")


def _joined(url: httpx2.URL, target: str) -> str:
    try:
        return str(url.join(target))
    except (httpx2.InvalidURL, ValueError):
        return target  # reading it will say what is wrong


def _wire(url: httpx2.URL) -> httpcore2.URL:
    return httpcore2.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _accepted(response: Response) -> Response:
    if response.status in {304, 404, 410} or 200 <= response.status < 300:
        return response
    raise InvalidInput(
        f"{shown(response.url)} refuses to be read: status {response.status}.",
        hint="Check in a browser, without a login, that anybody may open it.",
        param="sources",
    )


def _body(
    url: httpx2.URL, pieces: Iterable[bytes], told: dict[str, str], most: int, head_only: bool
) -> bytes:
    packing = told.get("content-encoding", "").strip().lower()
    if packing not in {"", "identity", "gzip", "x-gzip"}:
        raise InvalidInput(
            f"{shown(url)} comes packed as '{packing[:40]}', which was not asked for.",
            hint="Tell whoever runs that server.",
            param="sources",
        )
    data = bytearray()
    for piece in _bounded(unpack(pieces, most + 1) if "gzip" in packing else pieces):
        data += piece
        if len(data) > most:
            if head_only:
                break
            raise InvalidInput(
                f"{shown(url)} holds more than {most:,} bytes.",
                hint="Give the addresses of its parts instead.",
                param="sources",
            )
    return bytes(data[:most])


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        _left(None)
        yield piece


def _left(timeout: float | None) -> float:
    """The seconds that an operation may take at most."""
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("it takes too long")
    return left if timeout is None else min(timeout, left)


def _retry_after(response: Response) -> float:
    """Seconds; 0 where the server does not say."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _words(error: Exception | None) -> str:
    if isinstance(error, httpcore2.TimeoutException):
        return "it does not answer in time"
    return re.sub(r"\[Errno -?\d+\] ", "", str(error)).rstrip(".") or "the connection broke"


def _trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


class _Pace:
    """When the next request may go to a host."""

    def __init__(self, delay_s: float) -> None:
        self.delays: dict[str, float] = {}
        self._delay_s = delay_s
        self._next: dict[str, float] = {}
        self._mutex = threading.Lock()

    def wait(self, host: str) -> None:
        with self._mutex:
            now = time.monotonic()
            at = max(now, self._next.get(host, now))
            self._next[host] = at + self.delays.get(host, self._delay_s)
        time.sleep(min(at - now, _left(None)))


class _Checked(httpcore2.NetworkBackend):
    """Resolves a name once, checks every address, and connects to one of these."""

    def __init__(self, allow: Sequence[str]) -> None:
        self._allow = allow
        self._tcp = httpcore2.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        error: Exception = httpcore2.ConnectError(f"nothing is known by the name {host}")
        for address in addresses(host, port, self._allow):
            try:
                stream = self._tcp.connect_tcp(
                    address, port, _left(timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as refused:
                error = refused
            else:
                return _Timed(stream)
        raise error


class _Timed(httpcore2.NetworkStream):
    """A connection none of whose operations outlasts the request, however slowly bytes drip."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
