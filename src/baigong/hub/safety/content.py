"""A file's bytes as those who look at them read them: by ranges, and not more than they may."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property

from typing_extensions import override

HEAD = 1 << 16
_BUFFER = 1 << 14


class Exhausted(Exception):
    """A file asks for more reading than any is worth."""


class Budget:
    """How much is read of a file and of all that is packed in it, in bytes.

    Attributes:
        size: of the file.
        unpacked: what the archives in it say they become.
    """

    def __init__(self, most: int, size: int) -> None:
        self.size = size
        self.unpacked = 0
        self._left = most

    def take(self, count: int) -> None:
        """
        Raises:
            Exhausted: it is used up.
        """
        self._left -= count
        if self._left < 0:
            raise Exhausted


class Content:
    """Bytes that are read by ranges; `size` of all of them."""

    def __init__(self, read: Callable[[int, int], bytes], size: int, budget: Budget) -> None:
        self.size = size
        self.budget = budget
        self._read = read

    @classmethod
    def of(cls, start: bytes, size: int, budget: Budget) -> Content:
        """What was unpacked: the start of so many bytes."""
        return cls(lambda a, b: start[a:b], size, budget)

    @cached_property
    def head(self) -> bytes:
        return self.read(0, HEAD)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes start:stop, fewer where it ends before."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        self.budget.take(stop - start)
        return self._read(start, stop)

    def open(self) -> io.BufferedReader:
        """As a file."""
        return io.BufferedReader(_File(self), _BUFFER)


class _File(io.RawIOBase):
    def __init__(self, content: Content) -> None:
        self._content = content
        self._at = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        if start + offset < 0:
            raise ValueError("before the start")
        self._at = start + offset
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._content.read(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
