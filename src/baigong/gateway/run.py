"""Listening: one port, a clear word when it is taken, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager

import psutil
import uvicorn
from starlette.routing import BaseRoute
from typing_extensions import override

from baigong.app import Platform
from baigong.errors import Conflict, InvalidInput, Refused
from baigong.gateway.guard import is_loopback
from baigong.gateway.keys import Keys
from baigong.gateway.server import create_app

STREAMS_END_S = 5  # what running answers are given to finish when the server is told to stop


def serve(
    platform: Platform,
    host: str,
    port: int,
    *,
    pages: Sequence[BaseRoute] = (),
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Answer until SIGINT or SIGTERM. Running answers get `STREAMS_END_S` seconds to finish.

    Closes `platform` at the end. Call it from the main thread.

    Args:
        platform: an open installation.
        host: the address to listen on.
        port: 0 picks a free one.
        pages: routes beside the doors, i.e. the console's.
        ready: told the URL once requests are answered.

    Raises:
        Conflict: the port is taken.
        InvalidInput: the address is not one of this machine, or the port is not allowed.
        Refused: the address is reachable from elsewhere and no key exists.
    """
    listener, url, config = _prepare(platform, host, port, pages)
    server = _Server(config, lambda: ready(url), handle_signals=True)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[listener]))


@asynccontextmanager
async def running(
    platform: Platform, host: str = "127.0.0.1", port: int = 0, *, pages: Sequence[BaseRoute] = ()
) -> AsyncIterator[str]:
    """The same server for the length of a block, as its URL; signals stay with the caller.

    Raises:
        Conflict, InvalidInput, Refused: as `serve`.
    """
    listener, url, config = _prepare(platform, host, port, pages)
    started = asyncio.Event()
    server = _Server(config, started.set, handle_signals=False)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    waiting = asyncio.ensure_future(started.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            yield url
    finally:
        waiting.cancel()
        server.should_exit = True
        await serving


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        Conflict: the port is taken; says by whom where that can be known.
        InvalidInput: the address is not one of this machine, or the port is not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except socket.gaierror as error:
        raise InvalidInput(
            f"'{host}' is not an address of this machine.",
            hint="Use 127.0.0.1, or 0.0.0.0 for every address of it.",
            param="host",
        ) from error
    except OSError as error:
        raise _refusal(error, host, port) from error


class _Server(uvicorn.Server):
    """Tells when it has started, and keeps signals from ending the process in its middle."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], object], *, handle_signals: bool
    ) -> None:
        super().__init__(config)
        self._tell_started = started
        self._handle_signals = handle_signals

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        # uvicorn's own raises the signal again when all is over, which kills the process before
        # its caller can say goodbye.
        if not self._handle_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        caught = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _prepare(
    platform: Platform, host: str, port: int, pages: Sequence[BaseRoute]
) -> tuple[socket.socket, str, uvicorn.Config]:
    is_local = is_loopback(host)
    if not is_local and not Keys(platform.database, platform.secret).usable():
        raise Refused(
            f"Others could reach {host}, and there is no key to keep them out.",
            hint="Make one with `baigong keys create NAME`, or listen on 127.0.0.1.",
        )
    listener = listen(host, port)
    config = uvicorn.Config(
        create_app(platform, pages, may_be_open=is_local),
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_S,
        timeout_keep_alive=75,
    )
    return listener, _url(listener), config


def _url(listener: socket.socket) -> str:
    """Where this machine reaches the socket."""
    address, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address)
    return f"http://{name or (f'[{address}]' if ':' in address else address)}:{port}"


def _refusal(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {port} is taken{_holder(port)}.",
            hint=f"Use another: `--port {port + 1 if port < 65535 else 0}`, or 0 for any free one.",
        )
    if error.errno == errno.EACCES:
        return InvalidInput(
            f"This user may not listen on port {port}.",
            hint="Ports from 1024 are open to all: `--port 7860`.",
            param="port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidInput(
            f"'{host}' is not an address of this machine.",
            hint="Use 127.0.0.1, or 0.0.0.0 for every address of it.",
            param="host",
        )
    return error


def _holder(port: int) -> str:
    """` by python (pid 123)` where the system tells, else nothing."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if connection.laddr and connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
