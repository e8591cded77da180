"""From a file's bytes to a document. Untrusted kinds are parsed in a process with limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import TracebackType

import msgspec

from baigong.errors import Problem
from baigong.knowledge.formats import Document, Span, Unreadable, format_of
from baigong.knowledge.worker import Failed, Reply, Request, read_frame, write_frame

__all__ = ["Document", "Parser", "Span"]

TIMEOUT_S = 60.0
# The child sees these and nothing else of our environment, which may hold keys.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TMPDIR", "HOME")


class Parser:
    """Parses files one at a time. Use it in a `with` block: it owns a process."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` bounds the time for one file of the kinds parsed apart (PDF, HTML)."""
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def parse(self, path: str, data: bytes) -> Document | Problem:
        """The document of a file named `path`, or why there is none. Never raises for a bad file."""
        row = format_of(path)
        if row is None:
            return Problem(path, None, "", "is of a kind that we do not read; skipped.")
        if not data.strip():
            return Problem(path, None, "", "is empty; skipped.")
        try:
            document = self._apart(path, data) if row.isolated else row.read(path, data)
        except Unreadable as error:
            return Problem(path, None, "", f"{error} Skipped.")
        if not document.text.strip():
            return Problem(path, None, "", "holds no text; skipped.")
        return document

    def _apart(self, path: str, data: bytes) -> Document:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        # Killing the child breaks both pipes, which ends the reads and writes below.
        timer = threading.Timer(self._timeout_s, end)
        timer.start()
        try:
            write_frame(process.stdin, msgspec.msgpack.encode(Request(path, data)))
            body = read_frame(process.stdout)
        except BrokenPipeError:
            body = None
        finally:
            timer.cancel()
        if body is None:
            self._stop()
            if late.is_set():
                raise Unreadable(f"took longer than {self._timeout_s:g} s to parse.")
            raise Unreadable("is broken in a way that ended the parser.")
        reply: Reply = msgspec.msgpack.decode(body, type=Reply)
        if isinstance(reply, Failed):
            raise Unreadable(reply.why)
        return reply.document

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "baigong.knowledge.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:  # what it had not read yet is of no use to anyone
            return
