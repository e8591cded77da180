"""Files that callers upload: a row and a blob each."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from sqlalchemy import Row, Select, delete, insert, or_, select

from baigong.errors import NotFound
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.owning import owned
from baigong.store.paging import Cut, cut
from baigong.store.tables import files

_IN_MEMORY = 8 << 20


class StoredFile(msgspec.Struct, frozen=True):
    """An upload; `size` in bytes, times in seconds since the epoch."""

    id: str
    filename: str
    purpose: str
    size: int
    blob: str
    created_at: float
    expires_at: float | None
    owner: str | None


class Files:
    """The uploads of an installation, or those of one owner. All methods block."""

    def __init__(self, database: Database, blobs: Blobs, owner: str | None = None) -> None:
        self._database = database
        self._blobs = blobs
        self._owner = owner

    def of(self, owner: str | None) -> Files:
        """Those that an owner sees, whose is also what is added; None sees all."""
        return Files(self._database, self._blobs, owner)

    def add(
        self, filename: str, purpose: str, content: BinaryIO, expires_s: int | None = None
    ) -> StoredFile:
        """
        Raises:
            StorageFull: there is no room for it.
        """
        blob, size = self._put(content)
        now = time.time()
        expires_at = None if expires_s is None else now + expires_s
        name = _plain(filename)
        made = StoredFile(
            f"file-{secrets.token_hex(12)}", name, purpose, size, blob, now, expires_at, self._owner
        )
        with self._database.begin() as connection:
            connection.execute(insert(files).values(msgspec.structs.asdict(made)))
        if not self._blobs.has(blob):  # it lay here unused, and was collected in this moment
            content.seek(0)
            self._put(content)
        return made

    def get(self, file: str) -> StoredFile:
        """
        Raises:
            NotFound: there is none, it is another's, or it has expired.
        """
        with self._database.read() as connection:
            row = connection.execute(self._present().where(files.c.id == file)).first()
        if row is None:
            raise NotFound(f"There is no file '{file[:80]}'.", param="file_id")
        return _file(row)

    def page(self, at: Cut, purpose: str | None = None) -> tuple[list[StoredFile], bool]:
        """Some of them, and whether there are more."""
        query = self._present()
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._database.read() as connection:
            rows, has_more = cut(connection, query, files.c.created_at, files.c.id, at)
        return [_file(row) for row in rows], has_more

    def read(self, file: StoredFile) -> bytes:
        return self._blobs.get(file.blob)

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Make the file `target` hold it."""
        self._blobs.fetch(file.blob, target)

    def delete(self, file: str) -> None:
        """Forget it; its bytes may be those of another.

        Raises:
            NotFound: there is none, or it is another's.
        """
        self.get(file)
        with self._database.begin() as connection:
            connection.execute(delete(files).where(files.c.id == file))

    def _present(self) -> Select[Any]:
        alive = or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())
        return select(files).where(alive, owned(files.c.owner, self._owner))

    def _put(self, content: BinaryIO) -> tuple[str, int]:
        start = content.read(_IN_MEMORY)
        if len(start) < _IN_MEMORY:
            return self._blobs.put(start), len(start)
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(start)
            shutil.copyfileobj(content, copy)
            copy.flush()
            return self._blobs.put_file(Path(copy.name))


def _plain(filename: str) -> str:
    """A name without folders and without what cannot be printed."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(c if c.isprintable() else "_" for c in last)[-200:] or "file"


def _file(row: Row[Any]) -> StoredFile:
    return StoredFile(*(getattr(row, name) for name in StoredFile.__struct_fields__))
