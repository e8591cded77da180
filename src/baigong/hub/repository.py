"""Repositories: folders of files kept by content, at revisions that never change.

A revision is the sha256 of its manifest (path -> digest and size), so equal folders have equal
revisions and a checkout can be verified. The built-in foundation models live in the package.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import insert, select

from baigong.errors import InvalidInput, NotFound
from baigong.store.blobs import Blobs, digest_file
from baigong.store.database import Database
from baigong.store.tables import repositories

Kind = Literal["model", "dataset", "adapter"]
Manifest = dict[str, tuple[str, int]]

FOUNDATION = Path(__file__).parents[1] / "foundation"
BUILT_IN = "baigong"  # the owner of the models in the package


@dataclass(frozen=True, slots=True)
class Revision:
    """A folder at one revision, on this machine's disk."""

    kind: Kind
    name: str
    revision: str
    folder: Path
    facts: Mapping[str, Any]
    created_at: float

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.revision[:12]}"

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Hub:
    """Models, datasets and adapters by `owner/name[@revision]`."""

    def __init__(self, database: Database, blobs: Blobs, cache: Path) -> None:
        self._database = database
        self._blobs = blobs
        self._cache = cache

    def add(
        self,
        kind: Kind,
        name: str,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        wanted: Callable[[str], bool] = lambda _path: True,
    ) -> Revision:
        """Keep a folder's files under `name`; the same content again is the same revision."""
        check_name(name)
        manifest = {p: self._blobs.put_file(folder / p) for p in _files(folder) if wanted(p)}
        revision = _digest(manifest)
        with self._database.begin() as connection:
            found = connection.execute(
                select(repositories.c.revision).where(
                    repositories.c.kind == kind,
                    repositories.c.name == name,
                    repositories.c.revision == revision,
                )
            ).first()
            if found is None:
                connection.execute(
                    insert(repositories).values(
                        kind=kind,
                        name=name,
                        revision=revision,
                        manifest=manifest,
                        facts=dict(facts),
                        created_at=time.time(),
                    )
                )
        return self.get(kind, f"{name}@{revision}")

    def get(self, kind: Kind, ref: str) -> Revision:
        """The named revision, or the newest of the name, checked out on the disk.

        Raises:
            NotFound: suggests near names.
        """
        name, _, wanted = ref.partition("@")
        if kind == "model" and (built_in := self._built_in(name)) is not None:
            if built_in.revision.startswith(wanted):
                return built_in
            name = built_in.name  # an older one that a release was built on was kept by `add`
        query = (
            select(repositories)
            .where(repositories.c.kind == kind, repositories.c.name == name)
            .where(repositories.c.revision.startswith(wanted, autoescape=True))
            .order_by(repositories.c.created_at.desc())
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound.among(kind, ref, self.names(kind))
        # Named for people: the folder's name is what an engine's log and errors call the model.
        short = f"{name.replace('/', '--')}@{row.revision[:16]}"
        folder = self._checkout(self._cache / kind / short, row.manifest)
        return Revision(kind, name, row.revision, folder, row.facts, row.created_at)

    def all(self, kind: Kind) -> list[tuple[str, str, Mapping[str, Any], float]]:
        """(name, revision, facts, created_at) of every revision, newest first; built-ins last."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(repositories)
                .where(repositories.c.kind == kind)
                .order_by(repositories.c.created_at.desc())
            )
            found = [(r.name, r.revision, r.facts, r.created_at) for r in rows]
        if kind == "model":
            built_in = (self._built_in(name) for name in _foundation_names())
            found += [(m.name, m.revision, m.facts, m.created_at) for m in built_in if m]
        return found

    def names(self, kind: Kind) -> list[str]:
        """Every name that `get` knows, short names of built-ins included."""
        listed = list(dict.fromkeys(name for name, *_ in self.all(kind)))
        return listed + (_foundation_names() if kind == "model" else [])

    def _built_in(self, name: str) -> Revision | None:
        short = name.removeprefix(f"{BUILT_IN}/")
        if short not in _foundation_names():
            return None
        folder = FOUNDATION / short
        stamp = max(path.stat().st_mtime for path in folder.iterdir())
        facts = {"source": "built in"}
        revision = _built_in_revision(folder, stamp)
        return Revision("model", f"{BUILT_IN}/{short}", revision, folder, facts, stamp)

    def _checkout(self, folder: Path, manifest: Manifest) -> Path:
        """`folder` with the manifest's files; half a checkout never has that name."""
        if folder.is_dir():
            return folder
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for path, (digest, _size) in manifest.items():
            self._blobs.fetch(digest, partial / path)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster with the same content
                raise
        return folder


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _digest(manifest: Manifest) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@lru_cache(maxsize=16)
def _built_in_revision(folder: Path, stamp: float) -> str:
    """`stamp`, the newest modification time, is there to forget what has changed."""
    return _digest({
        p: (digest_file(folder / p), (folder / p).stat().st_size) for p in _files(folder)
    })


@lru_cache(maxsize=1)
def _foundation_names() -> list[str]:
    return sorted(path.parent.name for path in FOUNDATION.glob("*/config.json"))


def check_name(name: str) -> None:
    """Whether a name may be in the hub.

    Raises:
        InvalidInput: it may not.
    """
    owner, _, rest = name.partition("/")
    for part in (owner, rest):
        ok = part and part[0].isalnum() and all(c.isalnum() or c in "-_." for c in part)
        if not ok or not part.isascii() or ".." in part or len(part) > 96:
            raise InvalidInput(
                f"'{name}' is not a name in the hub.",
                hint="Write owner/name with letters, digits, '-', '_' and '.'.",
                param="name",
            )
