"""Content-addressed blobs: a file's name is the sha256 of its bytes, in a folder or a bucket."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from baigong.errors import InvalidInput, NotFound
from baigong.store.buckets import is_plain_http
from baigong.store.room import room_for
from baigong.store.sha256 import Sha256
from baigong.store.writing import Piece, write_all

_PIECE = 1 << 20
_SENT = 4 << 20  # bytes of a piece that goes on to a client
_KEY = re.compile(r"[0-9a-f]{2}/([0-9a-f]{64})")
_STALE_S = 3600  # after which what is put again is written again, where its age cannot be set


class Kept(NamedTuple):
    """A blob that is in the store; `modified_at` in seconds since the epoch."""

    digest: str
    size: int
    modified_at: float


class Blobs:
    """Bytes by digest. Writing the same bytes twice stores them once."""

    def __init__(self, url: str) -> None:
        """`url` is a folder or what obstore understands, e.g. `s3://bucket/prefix`."""
        self._url = url
        self.root = None if "://" in url else Path(url)
        if self.root is not None:
            self.root.mkdir(parents=True, exist_ok=True)
        self._store: ObjectStore = (
            from_url(url, client_options={"allow_http": is_plain_http()})
            if self.root is None
            else LocalStore(prefix=str(self.root))
        )

    def put(self, data: bytes) -> str:
        """Store bytes; their sha256 in hex. What is there is as new from now on: see hub.garbage."""
        digest = hashlib.sha256(data).hexdigest()
        if self.root is None:
            age = time.time() - (self.modified_at(digest) or 0)
            if age > _STALE_S:
                with _errors(digest):
                    obstore.put(self._store, _key(digest), data)
        else:
            with _errors(digest):
                _write(self.root / _key(digest), data)
        return digest

    def put_file(self, path: Path) -> tuple[str, int]:
        """Store a file; (sha256 in hex, bytes)."""
        digest = digest_file(path)
        if self.root is not None:
            self._create(digest, path)
        else:
            self._send(digest, path)
        return digest, path.stat().st_size

    @property
    def incoming(self) -> Path:
        """Where files lie that may become blobs: beside those, where they are on this disk."""
        folder = Path(tempfile.gettempdir()) if self.root is None else self.root / "incoming"
        folder.mkdir(exist_ok=True)
        return folder

    def beside(self, name: str) -> Blobs:
        """Another store in the same place, which this one's `all` does not list."""
        return Blobs(f"{self._url.rstrip('/')}/{name}")

    def receive(self, name: str = "") -> Incoming:
        """What takes bytes piece by piece, onto the disk. Use as a context manager.

        `name`, 64 hexadecimal digits, is what they are kept by instead of their digest, which then
        is not counted: for what is on its way, in a store of its own.
        """
        return Incoming(self, self.incoming, name)

    def check_room(self, size: int) -> None:
        """
        Raises:
            StorageFull: there is less on the disk than so many bytes.
        """
        with room_for("a file"):
            if shutil.disk_usage(self.incoming).free < size:
                raise OSError(errno.ENOSPC, "No space left on device")

    def clear_leftovers(self, older_s: float) -> None:
        """Take away what was on its way when a server was killed, unless it is young: another
        server may be writing it."""
        if self.root is None:
            return
        for path in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - older_s:
                    path.unlink()

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.root is not None

    def writable(self, name: str) -> Path:
        """Where to write what `name`, 64 hexadecimal digits, will be: in a bucket's case a place
        from which `adopt` takes it."""
        if self.root is None:
            return self.incoming / name
        return self.root / _key(name)

    def share(self, path: Path, digest: str) -> None:
        """Make a file of this machine a blob, and leave it where it is.

        Its sha256 was just counted, and it is not written to any more.
        """
        if self.root is None:
            self._create(digest, path)
            return
        other = self.incoming / secrets.token_hex(16)
        with _errors(digest):
            _link(path, other)
        self.adopt(other, digest)

    def adopt(self, path: Path, digest: str) -> None:
        """Make a file, which lies beside the store's and whose sha256 was just counted, a blob."""
        if self.root is None:
            self._send(digest, path)
            path.unlink()
            return
        target = self.root / _key(digest)
        with _errors(digest):
            target.parent.mkdir(exist_ok=True)
            path.replace(target)

    def has(self, digest: str) -> bool:
        return self.size(digest) is not None

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None where it is not there."""
        try:
            if self.root is not None:
                return (self.root / _key(digest)).stat().st_size
            return int(obstore.head(self._store, _key(digest))["size"])
        except FileNotFoundError:
            return None

    def modified_at(self, digest: str) -> float | None:
        """When a blob was written, in seconds since the epoch; None where it is not there."""
        try:
            if self.root is not None:
                return (self.root / _key(digest)).stat().st_mtime
            return obstore.head(self._store, _key(digest))["last_modified"].timestamp()
        except FileNotFoundError:
            return None

    def path(self, digest: str) -> Path | None:
        """Where a blob is, or would be, on the disk; None in a bucket."""
        return None if self.root is None else self.root / _key(digest)

    def get(self, digest: str) -> bytes:
        with _errors(digest):
            return bytes(obstore.get(self._store, _key(digest)).bytes())

    def read(self, digest: str, start: int, stop: int) -> bytes:
        """Bytes start:stop, fewer where it ends before."""
        return b"".join(self.pieces(digest, start, stop))

    def pieces(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        """The same in pieces of some megabytes."""
        with _errors(digest):
            if self.root is None:
                size = obstore.head(self._store, _key(digest))["size"]
                if start < min(stop, size):
                    found = obstore.get(
                        self._store, _key(digest), options={"range": (start, min(stop, size))}
                    )
                    for piece in found.stream(min_chunk_size=_SENT):
                        yield bytes(piece)
                return
            with (self.root / _key(digest)).open("rb", buffering=0) as file:
                file.seek(start)
                while start < stop and (piece := file.read(min(_SENT, stop - start))):
                    start += len(piece)
                    yield piece

    def all(self) -> Iterator[Kept]:
        """Every blob of the store."""
        for some in obstore.list(self._store):
            for one in some:
                if match := _KEY.fullmatch(one["path"]):
                    yield Kept(match[1], one["size"], one["last_modified"].timestamp())

    def delete(self, digest: str) -> None:
        """Take it away; no harm where it is not there."""
        with suppress(FileNotFoundError):
            obstore.delete(self._store, _key(digest))

    def fetch(self, digest: str, target: Path) -> None:
        """Make the file `target` hold the blob: a hard link where the store is a local folder."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with _errors(digest):
            if self.root is not None:
                _link(self.root / _key(digest), target)
                return
            partial = target.with_name(target.name + ".partial")
            with partial.open("wb") as file:
                for piece in obstore.get(self._store, _key(digest)).stream(min_chunk_size=_PIECE):
                    file.write(piece)
            partial.replace(target)

    def _send(self, digest: str, path: Path) -> None:
        """A file into a bucket: by parts, for one piece is held in memory and at most 5 GB."""
        if not self.has(digest):
            with _errors(digest):
                obstore.put(self._store, _key(digest), path, mode="overwrite")

    def _create(self, digest: str, content: bytes | Path) -> None:
        with _errors(digest):
            try:
                obstore.put(self._store, _key(digest), content, mode="create")
            except AlreadyExistsError:
                return


class Incoming:
    """Bytes on their way into the store, under no name yet; what is not finished leaves no trace."""

    def __init__(self, blobs: Blobs, folder: Path, name: str = "") -> None:
        self.size = 0
        self._blobs = blobs
        self._name = name
        self._path = folder / secrets.token_hex(16)
        self._hash = Sha256()
        self._file = self._path.open("wb", buffering=0)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._hash.close()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, piece: Piece) -> None:
        """As `writelines`, of one piece."""
        self.writelines([piece])

    def writelines(self, pieces: Sequence[Piece]) -> None:
        """They must not change until the next call.

        Raises:
            StorageFull: there is no room for them.
        """
        if not self._name:
            self._hash.update(pieces)
        self.size += write_all(self._file.fileno(), pieces)

    def finish(self, wanted: str = "") -> str:
        """Make it a blob; its sha256 in hex, or its name.

        Raises:
            InvalidInput: `wanted`, if any, is another; nothing is kept.
        """
        self._file.close()
        digest = self._name or self._hash.hexdigest()
        check_digest(digest, wanted)
        if self._name and not self._blobs.is_local:
            self._blobs.delete(self._name)  # a bucket keeps what it has
        self._blobs.adopt(self._path, digest)
        return digest


def check_digest(digest: str, wanted: str) -> None:
    """
    Raises:
        InvalidInput: `wanted`, if any, is another.
    """
    if wanted and digest != wanted.lower():
        raise InvalidInput(
            f"The bytes have the sha256 {digest}, not {wanted[:64]} as announced.",
            hint="They were damaged on the way; send them again.",
            param="oid",
        )


def digest_file(path: Path) -> str:
    """sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _write(path: Path, data: bytes) -> None:
    """A file that is whole or not there. The store does the same in five times the time."""
    with suppress(FileNotFoundError):
        os.utime(path)
        return
    partial = path.with_name(
        f"{path.name}.{secrets.token_hex(4)}#1"
    )  # the store lists no such name
    try:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _link(source: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
            raise
        shutil.copyfile(source, partial)
    partial.replace(target)


@contextmanager
def _errors(digest: str) -> Iterator[None]:
    """The store's errors as ours, in one place."""
    with room_for("a file"):
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"The blob {digest[:12]} is not in the store.") from error
