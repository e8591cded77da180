"""From a file's bytes to a document. Untrusted kinds are parsed in processes with limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

import msgspec

from baigong.errors import Problem
from baigong.knowledge.formats import Document, File, Format, Span, Unreadable, format_of
from baigong.knowledge.worker import Failed, Reply, Request, Step, read_frame, write_frame

__all__ = ["Document", "Parser", "Span"]

TIMEOUT_S = 60.0
LONGEST_S = 3600.0  # for one file, however well it gets on: a book of pictures through OCR

Input = tuple[str, bytes, str | None]


class Parser:
    """Parses files, several at a time where asked. Use it in a `with` block: it owns processes.

    Any number of threads may use one.
    """

    def __init__(self, *, processes: int = 1, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` bounds the time without a page done, of the kinds parsed apart."""
        self._processes = processes
        self._timeout_s = timeout_s
        self._idle: deque[_Child] = deque()

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._idle:
            self._idle.pop().stop()

    def parse(self, path: str, data: bytes, suffix: str | None = None) -> Document | Problem:
        """The document of a file named `path`, or why there is none. Never raises for a bad file.

        `suffix`, e.g. ".html", says what kind it is where the name does not.
        """
        row = format_of(path, suffix, data)
        if row is None:
            return Problem(path, None, "", "is of a kind that we do not read; skipped.")
        if not data.strip():
            return Problem(path, None, "", "is empty; skipped.")
        try:
            document = self._read(row, Request(path, data, suffix))
        except Unreadable as error:
            return Problem(path, None, "", f"{error} Skipped.")
        if not document.text.strip():
            return Problem(path, None, "", "holds no text; skipped.")
        return document

    def parse_many(self, files: Iterable[Input]) -> Iterator[tuple[int, Document | Problem]]:
        """(number of the file, outcome) of each (path, data, suffix), as they come to be done.

        At most two files for each process are taken from `files` ahead of what was given out. Kinds
        that need no process are parsed here: handing them to a thread takes longer.
        """
        waiting: dict[Future[Document | Problem], int] = {}
        threads = ThreadPoolExecutor(self._processes, thread_name_prefix="parse")
        try:
            for number, file in enumerate(files):
                if not _is_isolated(*file):
                    yield number, self.parse(*file)
                    continue
                waiting[threads.submit(self.parse, *file)] = number
                is_full = len(waiting) >= 2 * self._processes
                yield from _done(waiting, None if is_full else 0)
            while waiting:
                yield from _done(waiting, None)
        finally:  # also where nobody wants the rest
            threads.shutdown(cancel_futures=True)

    def _read(self, row: Format, request: Request) -> Document:
        if not row.isolated:
            return row.read(File(request.path, request.data))
        try:
            child = self._idle.pop()
        except IndexError:
            child = _Child()
        try:
            document = child.read(request, self._timeout_s)
        finally:
            if child.is_alive:
                self._idle.append(child)
        return document


def _is_isolated(path: str, data: bytes, suffix: str | None) -> bool:
    row = format_of(path, suffix, data)
    return row is not None and row.isolated


def _done(
    waiting: dict[Future[Document | Problem], int], patience_s: float | None
) -> Iterator[tuple[int, Document | Problem]]:
    """What is done now, or the first to be done within so long; None waits for it."""
    done, _ = wait(waiting, patience_s, FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


# The child sees these and nothing else of our environment, which may hold keys.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TMPDIR", "HOME")


class _Child:
    """A process that parses one file at a time. A file that breaks it is its last."""

    def __init__(self) -> None:
        self.is_alive = True
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "baigong.knowledge.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )

    def read(self, request: Request, timeout_s: float) -> Document:
        """The document of a file.

        Raises:
            Unreadable: there is none; where the file ended the process, it is no longer alive.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        ends_at = time.monotonic() + LONGEST_S
        body = msgspec.msgpack.encode(request)
        with _Watch(self._process, timeout_s) as watch:
            try:
                write_frame(self._process.stdin, body)
                while (answer := read_frame(self._process.stdout)) is not None:
                    reply: Reply = msgspec.msgpack.decode(answer, type=Reply)
                    if not isinstance(reply, Step):
                        break
                    watch.restart(ends_at)
            except BrokenPipeError:
                answer = None
        if answer is None or isinstance(reply, Step):
            self.stop()
            if watch.is_late:
                raise Unreadable(f"takes longer than {timeout_s:g} s to parse; split it.")
            raise Unreadable("is broken in a way that ended the parser; save it anew.")
        if isinstance(reply, Failed):
            raise Unreadable(reply.why)
        return reply.document

    def stop(self) -> None:
        """End the process."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:  # what it had not read yet is of no use to anyone
            return


class _Watch:
    """Kills a process that says nothing for a while. That ends the reads and writes that wait."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.is_late = False
        self._process = process
        self._timeout_s = timeout_s
        self._timer = threading.Timer(timeout_s, self._end)

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def restart(self, ends_at: float) -> None:
        """Wait anew, though not beyond `ends_at`."""
        self._timer.cancel()
        left = max(0.0, min(self._timeout_s, ends_at - time.monotonic()))
        self._timer = threading.Timer(left, self._end)
        self._timer.start()

    def _end(self) -> None:
        self.is_late = True
        self._process.kill()
