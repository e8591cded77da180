"""The files of a commit: a page for each folder, and a list of the pages, each kept by its digest.

A commit writes the pages of the folders that it touches, so a repository of 100,000 files in a
hundred folders costs a hundredth of its list for each.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select

from baigong.store.database import hold_back_collection, insert_missing
from baigong.store.hub_tables import manifests

_CACHED = 200_000  # files of all manifests in memory


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A file.

    Attributes:
        digest: sha256 of its bytes, in hex.
        size: bytes.
        oid: sha1 that git knows it by; empty for one that is kept as git keeps large files.
        commit: the one that changed it last.
    """

    digest: str
    size: int
    oid: str
    commit: str

    @property
    def is_large(self) -> bool:
        return not self.oid


Files = Mapping[str, Entry]  # by path
_Page = dict[str, Entry]


class Manifests:
    """Reads and writes the files of commits. Safe to share between threads."""

    def __init__(self) -> None:
        self._cache: OrderedDict[str, Files] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, connection: Connection, digest: str) -> Files:
        """The files, sorted by path."""
        with self._lock:
            if (known := self._cache.get(digest)) is not None:
                self._cache.move_to_end(digest)
                return known
        found: dict[str, Entry] = {}
        pages = msgspec.msgpack.decode(_content(connection, digest), type=dict[str, str])
        for folder, page in pages.items():
            within = msgspec.msgpack.decode(_content(connection, page), type=_Page)
            found.update({f"{folder}/{n}" if folder else n: e for n, e in within.items()})
        files = dict(sorted(found.items()))
        self._keep(digest, files)
        return files

    def write(self, connection: Connection, files: Files) -> str:
        """The digest under which they can be read."""
        folders: dict[str, _Page] = defaultdict(dict)
        for path in sorted(files):
            folder, _, name = path.rpartition("/")
            folders[folder][name] = files[path]
        pages = {name: msgspec.msgpack.encode(page) for name, page in sorted(folders.items())}
        digests = {name: _sha256(page) for name, page in pages.items()}
        root = msgspec.msgpack.encode(digests)
        hold_back_collection(connection)
        wanted = {_sha256(root): root, **{digests[name]: page for name, page in pages.items()}}
        _insert(connection, wanted)
        digest = _sha256(root)
        self._keep(digest, dict(sorted(files.items())))
        return digest

    def _keep(self, digest: str, files: Files) -> None:
        with self._lock:
            self._cache[digest] = files
            while len(self._cache) > 1 and sum(map(len, self._cache.values())) > _CACHED:
                self._cache.popitem(last=False)


def content_digest(files: Files) -> str:
    """sha256 of paths, digests and sizes: equal folders have equal ones, whoever committed them."""
    plain = {path: (entry.digest, entry.size) for path, entry in sorted(files.items())}
    return hashlib.sha256(json.dumps(plain, separators=(",", ":")).encode()).hexdigest()


def blob_oid(data: bytes) -> str:
    """What git calls a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def folders_of(files: Files) -> set[str]:
    """Every folder that has something in it."""
    found: set[str] = set()
    for path in files:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _content(connection: Connection, digest: str) -> bytes:
    query = select(manifests.c.content).where(manifests.c.digest == digest)
    return bytes(connection.execute(query).scalar_one())


def _insert(connection: Connection, wanted: Mapping[str, bytes]) -> None:
    names = list(wanted)
    there: set[str] = set()
    for start in range(0, len(names), 500):
        query = select(manifests.c.digest).where(manifests.c.digest.in_(names[start : start + 500]))
        there.update(connection.execute(query).scalars())
    rows = [{"digest": d, "content": c} for d, c in wanted.items() if d not in there]
    insert_missing(connection, manifests, rows)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
