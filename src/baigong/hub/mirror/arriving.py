"""A file on its way from elsewhere: written to the disk once, read by any number while it grows."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from baigong.errors import BaigongError, Unreachable
from baigong.store.blobs import Blobs

_PIECE = 1 << 20
_SENT = 4 << 20  # bytes of a piece that goes on to a client
_TRIES = 6
_REDIRECTS = 5
_TIMEOUT = httpx2.Timeout(30, connect=10)


class Arriving:
    """One blob that is being fetched by a thread of its own, going on where an earlier try stopped."""

    def __init__(
        self, blobs: Blobs, digest: str, size: int, url: str, query: dict[str, str]
    ) -> None:
        self.digest = digest
        self._blobs, self._size = blobs, size
        self._url, self._query = url, query
        self._path = blobs.incoming / f"mirror-{digest}"
        self._file = _locked(self._path)
        self._have = os.fstat(self._file.fileno()).st_size
        self._error: BaigongError | None = None
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"mirror-{digest[:8]}", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it is a blob now, or has failed."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """
        Raises:
            Unreachable: it could not be fetched; what came is kept for the next try.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes start:stop, as they come.

        Raises:
            Unreachable: they do not.
        """
        with self._moved:
            if not self._file.closed:
                return self._read(os.fdopen(os.dup(self._file.fileno()), "rb"), start, stop)
        self.wait()
        return self._blobs.pieces(self.digest, start, stop)

    def _read(self, file: BufferedReader, start: int, stop: int) -> Iterator[bytes]:
        with file:
            while start < stop:
                until = min(self._past(start), stop, start + _SENT)
                piece = os.pread(file.fileno(), until - start, start)
                start += len(piece)
                yield piece

    def _past(self, start: int) -> int:
        """How many bytes are here, once they are more than `start`."""
        with self._moved:
            self._moved.wait_for(lambda: self._have > start or self._error is not None)
            if self._have <= start:
                assert self._error is not None
                raise self._error
            return self._have

    def _run(self) -> None:
        try:
            self._fetch()
        except (BaigongError, OSError, httpx2.HTTPError) as error:
            wrong = error if isinstance(error, BaigongError) else _lost(self._url, error)
            with self._moved:
                self._error = wrong
                self._moved.notify_all()
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # readers may still hold the file
            with self._moved:
                self._file.close()

    def _fetch(self) -> None:
        for attempt in range(_TRIES):
            try:
                self._ask()
                break
            except httpx2.HTTPError:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(min(0.2 * 2**attempt, 5))
        self._file.seek(0)
        found = hashlib.file_digest(self._file, "sha256").hexdigest()
        if found != self.digest:
            self._path.unlink(missing_ok=True)
            raise Unreachable(
                f"{urlsplit(self._url).path} arrived damaged: its sha256 is not the one announced.",
                hint="It was removed; ask again.",
            )
        self._blobs.adopt(self._path, self.digest)

    def _ask(self) -> None:
        headers = {"Accept-Encoding": "identity"}
        if self._have:
            headers["Range"] = f"bytes={self._have}-"
        with (
            httpx2.Client(timeout=_TIMEOUT) as client,
            answer_of(client, self._url, self._query, headers) as response,
        ):
            self._write(response)

    def _write(self, response: httpx2.Response) -> None:
        if response.status_code == 416 and self._have == self._size:
            return
        response.raise_for_status()
        if response.status_code != 206 and self._have:
            with self._moved:  # it knows no ranges; readers have what they read
                skip, at = self._have, 0
        else:
            skip, at = 0, self._have
        self._file.seek(0, os.SEEK_END)
        for piece in response.iter_raw(_PIECE):
            fresh = piece[max(0, skip - at) :]
            at += len(piece)
            if self._have + len(fresh) > self._size:
                raise _lost(self._url, f"more than the {self._size} bytes announced came")
            self._file.write(fresh)
            self._file.flush()
            with self._moved:
                self._have += len(fresh)
                self._moved.notify_all()
        if self._have < self._size:
            raise httpx2.RemoteProtocolError(f"{self._have} of {self._size} bytes came")


@contextmanager
def answer_of(
    client: httpx2.Client, url: str, query: dict[str, str], headers: dict[str, str] | None = None
) -> Iterator[httpx2.Response]:
    """What stands at an address, behind redirects that may be followed.

    Raises:
        Unreachable: they lead elsewhere without encryption, or never end.
    """
    asked, params = url, query or None  # an empty query would strike out that of a redirect
    for _ in range(_REDIRECTS):
        with client.stream("GET", asked, params=params, headers=headers) as response:
            if not response.is_redirect:
                yield response
                return
            asked, params = _next(asked, response), None
    raise _lost(url, "too many redirects")


def _locked(path: Path) -> BufferedRandom:
    """The file of an earlier try, or one of our own where another process writes it now."""
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return path.with_name(f"{path.name}.{os.getpid()}").open("w+b")
    return file


def _next(url: str, response: httpx2.Response) -> str:
    """Where a redirect leads: to the same host, or to a public one by HTTPS."""
    target = str(response.url.join(response.headers.get("location", "")))
    same = urlsplit(target).netloc == urlsplit(url).netloc
    if not same and not target.startswith("https://"):
        raise _lost(url, f"it leads to {urlsplit(target).netloc} without encryption")
    return target


def _lost(url: str, why: object) -> Unreachable:
    return Unreachable(
        f"{urlsplit(url).netloc} did not send {urlsplit(url).path}: {why}",
        hint="Ask again: what has arrived is kept.",
    )
