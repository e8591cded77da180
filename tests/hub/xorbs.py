"""Xorbs and shards as Hugging Face's clients write them, and as somebody might who means harm."""

from __future__ import annotations

import hashlib
import struct

import lz4.frame


def chunk(data: bytes, scheme: int = 0, *, size: int | None = None, version: int = 0) -> bytes:
    """A chunk with its header; `size` is what the header says."""
    if scheme == 2:
        data = b"".join(data[place::4] for place in range(4))
    packed = data if scheme == 0 else lz4.frame.compress(data)
    size = len(data) if size is None else size
    lengths = len(packed).to_bytes(3, "little"), size.to_bytes(3, "little")
    return bytes([version]) + lengths[0] + bytes([scheme]) + lengths[1] + packed


def raw(text: str) -> bytes:
    """A hash from its text."""
    return struct.pack("<4Q", *(int(text[at : at + 16], 16) for at in range(0, 64, 16)))


def file(terms: list[tuple[str, int, int, int]], sha256: str, *, count: int | None = None) -> bytes:
    """A file of a shard, of (xorb, first, stop, bytes); `count` is how many terms it says it has."""
    count = len(terms) if count is None else count
    entries = b"".join(
        raw(xorb) + struct.pack("<IIII", 0, size, first, stop) for xorb, first, stop, size in terms
    )
    head = raw("ab" * 32) + struct.pack("<II8x", 1 << 30, count)
    return head + entries + raw(sha256) + bytes(16)


def shard(*files: bytes) -> bytes:
    head = b"HFRepoMetaData\0".ljust(32, b"U") + struct.pack("<QQ", 2, 0)
    return head + b"".join(files) + b"\xff" * 32 + bytes(16)


def named(content: bytes) -> str:
    """Something like a xorb's hash."""
    return hashlib.sha256(content).hexdigest()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
