"""Xorbs as they come, one behind the other in one file for each client.

A client that uploads one large file sends its xorbs in order. Then what lies here is that file
already when the shard comes, its digest is known, and nothing is written or read a second time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from baigong.store.blobs import Blobs
from baigong.store.sha256 import Sha256
from baigong.store.writing import Piece, write_all

_MOST = 32  # that are gone on with; a client that was quiet for longer begins another


class Run:
    """A file aside of some xorbs; `size` counts the bytes of those that are whole."""

    def __init__(self, name: str, path: Path, *, is_counted: bool) -> None:
        self.name = name
        self.path = path
        self.size = 0
        self._hash = Sha256() if is_counted else None
        self._mark = self._hash
        self._written = 0
        self._is_open = False  # whether some of a xorb was written
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb", buffering=0)

    def writelines(self, pieces: Sequence[Piece]) -> None:
        """They must not change until the next call.

        Raises:
            StorageFull: there is no room for them.
        """
        if self._hash is not None:
            if not self._is_open:
                self._mark = self._hash.mark()
            self._hash.update(pieces)
        self._is_open = True
        self._written += write_all(self._file.fileno(), pieces)

    def keep(self) -> None:
        """What was written since is a xorb."""
        self.size += self._written
        self._written = 0
        self._is_open = False

    def undo(self) -> None:
        """What was written since is none, whole or not."""
        if self._is_open:
            self._is_open = False
            self._written = 0
            os.truncate(self._file.fileno(), self.size)
            self._file.seek(self.size)
            if self._hash is not None:
                self._hash.close()
            self._hash = self._mark

    def digest(self) -> str:
        """sha256 of all of it in hex, or nothing where it was not counted."""
        return "" if self._hash is None else self._hash.hexdigest()

    def close(self) -> None:
        """Write no more to it; nothing is left where it has no xorb."""
        if self._hash is not None:
            self._hash.close()
        self._file.close()
        if not self.size:
            self.path.unlink(missing_ok=True)


class Runs:
    """Those that this process writes to. Safe to share between threads."""

    def __init__(self, aside: Blobs) -> None:
        self._aside = aside
        self._lock = Lock()
        self._idle: dict[str, Run] = {}
        self._busy: set[str] = set()

    @contextmanager
    def turn(self, client: str) -> Iterator[Run]:
        """The client's run, to write a xorb to. One that sends several at once gets others for
        them, which are not gone on with."""
        with self._lock:
            is_first = client not in self._busy
            run = self._idle.pop(client, None) if is_first else None
            if is_first:
                self._busy.add(client)
        try:
            if run is None:
                name = secrets.token_hex(32)
                run = Run(name, self._aside.writable(name), is_counted=is_first)
            try:
                yield run
            finally:
                run.undo()
                self._put_back(client, run, is_first=is_first)
        finally:
            if is_first:
                self._busy.discard(client)

    def end(self, name: str) -> Run | None:
        """The run of that name, if it is one of an idle client. It is not gone on with, and for
        the caller to close."""
        with self._lock:
            for client, run in self._idle.items():
                if run.name == name:
                    return self._idle.pop(client)
        return None

    def close(self) -> None:
        """Go on with none of them."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for run in idle.values():
            run.close()

    def _put_back(self, client: str, run: Run, *, is_first: bool) -> None:
        closed = [run]
        with self._lock:
            if is_first and run.size and self._aside.is_local:
                self._idle[client] = run
                closed = [self._idle.pop(next(iter(self._idle)))] if len(self._idle) > _MOST else []
        for one in closed:
            one.close()
