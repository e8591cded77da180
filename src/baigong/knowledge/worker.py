"""The parsing process: reads files from its standard input, writes documents to its output.

It holds no secrets and little memory: a hostile file can at worst end this process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import IO

import msgspec

from baigong.knowledge.formats import Document, Unreadable, format_of

MEMORY_BYTES = 2 << 30  # address space; PDFium and lxml need some 300 MB of it to start
MAX_REPLY_BYTES = 512 << 20


class Request(msgspec.Struct, frozen=True):
    """A file to parse."""

    path: str
    data: bytes


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The file holds no text we can get at."""

    why: str


class Parsed(msgspec.Struct, frozen=True, tag=True):
    """The document of a file."""

    document: Document


Reply = Failed | Parsed


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


def _parse(request: Request) -> Reply:
    row = format_of(request.path)
    if row is None:
        return Failed("is of a kind that we do not read.")
    try:
        return Parsed(row.read(request.path, request.data))
    except Unreadable as error:
        return Failed(str(error))
    except MemoryError:
        return Failed(f"needs more than {MEMORY_BYTES >> 20} MB of memory to parse.")
    except RecursionError:
        return Failed("is nested too deeply.")


def main() -> None:
    """Serve until standard input ends."""
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    decoder = msgspec.msgpack.Decoder(Request)
    while (body := read_frame(sys.stdin.buffer)) is not None:
        write_frame(replies, msgspec.msgpack.encode(_parse(decoder.decode(body))))


if __name__ == "__main__":
    main()
