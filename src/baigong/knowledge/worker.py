"""The parsing process: reads files from its standard input, writes documents to its output.

It holds no secrets and little memory: a hostile file can at worst end this process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from typing import IO

import msgspec

from baigong.knowledge.formats import Document, File, Unreadable, format_of

MEMORY_BYTES = 2 << 30  # address space; PDFium and lxml need some 300 MB of it to start
MAX_REPLY_BYTES = 512 << 20
STEP_S = 1.0  # how often a long file says that it gets on


class Request(msgspec.Struct, frozen=True):
    """A file to parse."""

    path: str
    data: bytes
    suffix: str | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The file holds no text we can get at."""

    why: str


class Parsed(msgspec.Struct, frozen=True, tag=True):
    """The document of a file."""

    document: Document


class Step(msgspec.Struct, frozen=True, tag=True):
    """A page more of a long file is done."""


Reply = Failed | Parsed | Step


def write_frame(stream: IO[bytes], body: bytes) -> None:
    """A length of 8 bytes, then the body."""
    stream.write(len(body).to_bytes(8, "big"))
    stream.write(body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next body; None where the other side has gone away or sends nonsense."""
    head = stream.read(8)
    size = int.from_bytes(head, "big")
    if len(head) < 8 or size > MAX_REPLY_BYTES:
        return None
    body = stream.read(size)
    return body if len(body) == size else None


class _Steps:
    """Says over the pipe that a file gets on, at most once in `STEP_S`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._said_at = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= STEP_S:
            self._said_at = now
            write_frame(self._stream, msgspec.msgpack.encode(Step()))


def _parse(request: Request, replies: IO[bytes]) -> Reply:
    row = format_of(request.path, request.suffix, request.data)
    if row is None:
        return Failed("is of a kind that we do not read.")
    try:
        return Parsed(row.read(File(request.path, request.data, _Steps(replies))))
    except Unreadable as error:
        return Failed(str(error))
    except MemoryError:
        return Failed(f"needs more than {MEMORY_BYTES >> 20} MB of memory to parse; split it.")
    except RecursionError:
        return Failed("is nested too deeply.")


def main() -> None:
    """Serve until standard input ends."""
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    decoder = msgspec.msgpack.Decoder(Request)
    while (body := read_frame(sys.stdin.buffer)) is not None:
        write_frame(replies, msgspec.msgpack.encode(_parse(decoder.decode(body), replies)))


if __name__ == "__main__":
    main()
