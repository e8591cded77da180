"""One life of an engine process: starts it, talks to it, and notices when it dies."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar, cast

import msgspec
from typing_extensions import override

from baigong.errors import BaigongError, EngineUnavailable
from baigong.inference.engine import messages
from baigong.inference.engine.messages import (
    Done,
    EngineConfig,
    Failed,
    FromEngine,
    ModelFacts,
    Ready,
    Rejected,
    Rows,
    Step,
    ToEngine,
    Token,
)

_log = logging.getLogger(__name__)
_decoder = msgspec.msgpack.Decoder(FromEngine)

# What a request can find in its box.
Reply = Token | Done | Rows | BaigongError
Box = asyncio.Queue[Reply]

# The number of the next message, whichever engine it goes to.
new_id = itertools.count(1).__next__

_T = TypeVar("_T")

_TAIL_BYTES = 3000
_EXIT_S = 5.0  # an engine that is told to end gets this long to finish its step


class EngineProcess(asyncio.Protocol):
    """A running engine process, seen from the event loop that started it.

    Attributes:
        facts: what it serves.
        load: the latest Step, for its counters; None before the first.
        tokens: how many it has generated.
    """

    facts: ModelFacts

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.name = name
        self.load: Step | None = None
        self.tokens = 0
        self._popen = popen
        self._log = log
        self._log_start = log.tell()
        self._frames = messages.Frames()
        self._boxes: dict[int, Box] = {}
        self._transport: asyncio.Transport | None = None
        self._ready: asyncio.Future[ModelFacts] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._at_end: list[Callable[[], None]] = []
        self._last_words = ""
        self._reaper: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, folder: Path, config: EngineConfig) -> EngineProcess:
        """Start an engine on a model folder and wait until it is ready.

        Raises:
            Unsupported, InvalidInput: the model cannot be served; see the message.
            EngineUnavailable: the process died, or was not ready in time.
        """
        log = _open_log(folder, config)
        ours, theirs = socket.socketpair()
        with theirs:
            popen = _spawn(folder, config, theirs.fileno(), log)
        self = cls(folder.name, popen, log)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: self, sock=ours)
            async with asyncio.timeout(config.start_timeout_s):
                self.facts = await self._ready
        except TimeoutError as error:
            await self.kill()
            raise EngineUnavailable(
                f"The engine for {folder.name} was not ready after {config.start_timeout_s:.0f} s.",
                hint=self.log_tail(),
            ) from error
        except BaseException:
            await asyncio.shield(self.kill())
            raise
        return self

    @property
    def is_alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, id: int, message: ToEngine) -> Box:
        """Send a message and get the box into which its replies fall; `forget` it afterwards."""
        box: Box = asyncio.Queue()
        self._boxes[id] = box
        if self.is_alive:
            self.tell(message)
        else:
            box.put_nowait(self._death())
        return box

    def tell(self, message: ToEngine) -> None:
        """Send a message that has no reply."""
        if self._transport is not None and self.is_alive:
            self._transport.write(messages.encode(message))

    def forget(self, id: int) -> None:
        """Drop whatever else comes for `id`."""
        self._boxes.pop(id, None)

    async def answer(self, id: int, message: ToEngine) -> Reply:
        """Send a message that has exactly one reply, and get that."""
        box = self.ask(id, message)
        try:
            return await box.get()
        finally:
            self.forget(id)

    def at_end(self, call: Callable[[], None]) -> None:
        """Have `call` called when the process is gone, for whatever reason."""
        self._at_end.append(call)

    async def kill(self) -> None:
        """End the process now; what is open fails."""
        self._popen.kill()
        await self.close()

    async def close(self) -> None:
        """End the process after its present step, and wait until it is gone."""
        if self._transport is not None:
            self._transport.close()
            await self._ended.wait()
        else:
            await self._reap()

    def log_tail(self) -> str:
        """The end of what this process has logged."""
        if self._log.closed:
            return self._last_words
        file = (
            self._log.fileno()
        )  # its position is shared with the process, so it must not be moved
        start = max(self._log_start, os.fstat(file).st_size - _TAIL_BYTES)
        text = os.pread(file, _TAIL_BYTES, start).decode("utf-8", "replace").strip()
        return f"The end of its log:\n{text}" if text else "It logged nothing."

    # ---- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do everything and inherit nothing.
        self._transport = cast(asyncio.Transport, transport)

    @override
    def data_received(self, data: bytes) -> None:
        for body in self._frames.feed(data):
            self._receive(_decoder.decode(body))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._reaper = asyncio.get_running_loop().create_task(self._reap())

    def _receive(self, message: FromEngine) -> None:
        match message:
            case Step(tokens=tokens):
                self.load = message
                self.tokens += len(tokens)
                for token in tokens:
                    self._deliver(token.request, token)
            case Ready(facts=facts):
                if not self._ready.done():
                    self._ready.set_result(facts)
            case Failed(error=report):
                if not self._ready.done():
                    self._ready.set_exception(report.to_error())
            case Rejected(id=id, error=report):
                self._deliver(id, report.to_error())
            case Done() | Rows():
                self._deliver(message.id, message)

    def _deliver(self, id: int, reply: Reply) -> None:
        box = self._boxes.get(id)
        if box is not None:  # else it was aborted while the reply was on its way
            box.put_nowait(reply)

    async def _reap(self) -> None:
        """Wait for the dead process, then tell everybody who still waits for it."""
        try:
            await asyncio.to_thread(self._popen.wait, _EXIT_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
        self._last_words = self.log_tail()
        self._log.close()
        if not self._ready.done():
            error = self._death()
            error.hint = self._last_words
            self._ready.set_exception(error)
            self._ready.exception()  # a start that was given up leaves nobody to look at it
        for box in self._boxes.values():
            box.put_nowait(self._death())
        if self._boxes:
            _log.warning("%s %d requests failed.", self._death().message, len(self._boxes))
        for call in self._at_end:
            call()
        self._ended.set()

    def _death(self) -> EngineUnavailable:
        code = self._popen.returncode
        how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
        return EngineUnavailable(
            f"The engine for {self.name} stopped unexpectedly{how}.",
            hint="Send the request again: a fresh engine starts by itself.",
        )


def expect(reply: Reply, kind: type[_T]) -> _T:
    """The reply, which is of this kind unless it is an error; that is raised."""
    if isinstance(reply, BaigongError):
        raise reply
    assert isinstance(reply, kind)
    return reply


def _spawn(folder: Path, config: EngineConfig, fd: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    asked = msgspec.structs.replace(config, logs=None)
    settings = msgspec.json.encode(asked, enc_hook=str).decode()  # a path as text
    command = [
        sys.executable,
        "-P",
        "-m",
        "baigong.inference.engine",
        str(fd),
        str(folder),
        settings,
    ]
    return subprocess.Popen(
        command,
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(config),
    )


def _environment(config: EngineConfig) -> dict[str, str]:
    """Thread settings must stand before torch is imported, so they travel in the environment."""
    environment = dict(os.environ)
    # Threads that spin while they wait for each other bring an engine to a standstill beside a
    # training run: 44 ms a step became 17 when they sleep.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    if config.threads is not None:
        environment["OMP_NUM_THREADS"] = str(config.threads)
    return environment


def _open_log(folder: Path, config: EngineConfig) -> IO[bytes]:
    if config.logs is None:
        return tempfile.TemporaryFile()
    config.logs.mkdir(parents=True, exist_ok=True)
    mark = sha256(str(folder).encode()).hexdigest()[:8]  # folders may share their last name
    return (config.logs / f"engine-{folder.name}-{mark}.log").open("a+b")
