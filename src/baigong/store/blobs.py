"""Content-addressed blobs: a file's name is the sha256 of its bytes, in a folder or a bucket."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from baigong.errors import NotFound
from baigong.store.buckets import is_plain_http
from baigong.store.room import room_for

_PIECE = 1 << 20


class Blobs:
    """Bytes by digest. Writing the same bytes twice stores them once."""

    def __init__(self, url: str) -> None:
        """`url` is a folder or what obstore understands, e.g. `s3://bucket/prefix`."""
        self.root = None if "://" in url else Path(url)
        if self.root is not None:
            self.root.mkdir(parents=True, exist_ok=True)
        self._store: ObjectStore = (
            from_url(url, client_options={"allow_http": is_plain_http()})
            if self.root is None
            else LocalStore(prefix=str(self.root))
        )

    def put(self, data: bytes) -> str:
        """Store bytes; their sha256 in hex."""
        digest = hashlib.sha256(data).hexdigest()
        if self.root is None:
            self._create(digest, data)
        else:
            with _errors(digest):
                _write(self.root / _key(digest), data)
        return digest

    def put_file(self, path: Path) -> tuple[str, int]:
        """Store a file; (sha256 in hex, bytes)."""
        digest = digest_file(path)
        if self.root is not None:
            self._create(digest, path)
        elif not self._holds(digest):
            with _errors(digest):
                # By parts, for what is sent in one piece is held in memory and at most 5 GB.
                obstore.put(self._store, _key(digest), path, mode="overwrite")
        return digest, path.stat().st_size

    def get(self, digest: str) -> bytes:
        with _errors(digest):
            return bytes(obstore.get(self._store, _key(digest)).bytes())

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

    def _holds(self, digest: str) -> bool:
        try:
            obstore.head(self._store, _key(digest))
        except FileNotFoundError:
            return False
        return True

    def _create(self, digest: str, content: bytes | Path) -> None:
        with _errors(digest):
            try:
                obstore.put(self._store, _key(digest), content, mode="create")
            except AlreadyExistsError:
                return


def digest_file(path: Path) -> str:
    """sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _write(path: Path, data: bytes) -> None:
    """A file that is whole or not there. The store does the same in five times the time."""
    if path.exists():
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
