"""The hub: repositories of models, datasets and recipes, and their files on this machine's disk.

A revision is told by the sha256 of its files' paths and contents, so that equal folders have equal
revisions and a release stays on what it was proven with; commits, branches and tags lead to it.
The built-in foundation models live in the package.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from baigong.errors import NotFound
from baigong.hub.about import ADAPTER_CONFIG, About, adapter_base, describe
from baigong.hub.access import OPERATOR, PLATFORM, Actor, Namespaces
from baigong.hub.admissions import Admissions
from baigong.hub.commits import Commit, Commits, Moved, Put, Remove, Words, resolve
from baigong.hub.counting import Downloads
from baigong.hub.discussions import Discussions
from baigong.hub.holdings import Holdings
from baigong.hub.manifest import Entry, Files, Manifests, blob_oid, content_digest
from baigong.hub.mirror.mirror import Mirror
from baigong.hub.mirror.sources import Source
from baigong.hub.names import MAIN, Kind
from baigong.hub.repositories import Repositories, Repository, seen
from baigong.hub.safety.checks import Checks
from baigong.hub.search.listing import Listing, Query
from baigong.hub.xet.store import Xorbs
from baigong.store.blobs import Blobs, digest_file
from baigong.store.database import Database

FOUNDATION = Path(__file__).parents[1] / "foundation"
MOST = 1000  # repositories of a list that is not asked for by page
BUILT_IN = "baigong"  # the owner of the models in the package
TEXT_BYTES = 1 << 20  # files up to here are kept as git keeps text, if they are


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

    @property
    def is_adapter(self) -> bool:
        return (self.folder / ADAPTER_CONFIG).is_file()

    @property
    def base(self) -> str:
        """What an adapter was made for: a ref where the platform made it, else as its file says."""
        if "base" in self.facts:
            return str(self.facts["base"])
        return adapter_base((self.folder / ADAPTER_CONFIG).read_text("utf-8", "replace"))


class Listed(NamedTuple):
    """A repository, as lists of what can be called show it; `changed_at` in seconds."""

    name: str
    revision: str
    about: About
    changed_at: float


class Hub:
    """Everything in the hub; what the platform itself keeps there goes through `add` and `get`."""

    def __init__(
        self, database: Database, blobs: Blobs, cache: Path, sources: Sequence[Source] = ()
    ) -> None:
        """`sources` are the hubs that names which are not here are looked up in."""
        self.blobs = blobs
        self.aside = blobs.beside("aside")  # what is on its way in, by names of its own
        self.holdings = Holdings(database, blobs)
        self.xorbs = Xorbs(database, blobs, self.aside, self.holdings)
        self.namespaces = Namespaces(database)
        self.commits = Commits(database, blobs.has, Manifests())
        self.repositories = Repositories(database, self.commits)
        self.checks = Checks(database, blobs)
        self.listing = Listing(database)
        self.counting = Downloads(self.repositories)
        self.discussions = Discussions(database, self.commits)
        self.admissions = Admissions(database)
        self._database = database
        self._cache = cache
        self.mirror = self.mirror_of(sources)

    def mirror_of(self, sources: Sequence[Source]) -> Mirror:
        """What brings repositories of other hubs into this one."""
        return Mirror(self.repositories, self.commits, self.blobs, self.refresh, sources)

    def add(
        self,
        kind: Kind,
        name: str,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        wanted: Callable[[str], bool] = lambda _path: True,
        private: bool = False,
    ) -> Revision:
        """Make a folder's files the newest under `name`; the same again is the same revision.

        Args:
            kind: of the repository, which is made where there is none.
            name: `owner/name`.
            folder: what to keep; links in it are not followed.
            facts: what is known of the files, kept with the commit.
            wanted: which of its files to keep.
            private: whether a new repository is for its owner alone.
        """
        paths = [path for path in _files(folder) if wanted(path)]
        puts = [Put(path, self.keep_file(folder / path)) for path in paths]
        words = Words(f"Keep {name}", OPERATOR, facts=dict(facts))
        try:
            one = self.repositories.find(kind, name)
        except NotFound:
            one = self.repositories.create(kind, name, puts, words, private=private)
        else:
            self._replace(one, puts, words)
        self.refresh(kind, one.name)
        files = {put.path: put.entry for put in puts}
        return self.get(kind, f"{one.name}@{content_digest(files)}")

    def get(self, kind: Kind, ref: str, actor: Actor | None = None) -> Revision:
        """The named revision, or the newest of the name, checked out on the disk.

        Args:
            kind: of the repository.
            ref: `owner/name`, and after an `@` a branch, a tag, a commit or the start of a digest.
            actor: whose question it is; None is the platform's own.

        Raises:
            NotFound: suggests near names; what the actor may not see is not there.
            Gated: the actor has not been admitted to its files.
        """
        name, _, wanted = ref.partition("@")
        if kind == "model" and (built_in := self._built_in(name)) is not None:
            if built_in.revision.startswith(wanted):
                return built_in
            name = built_in.name  # an older one that a release was built on was kept by `add`
        try:
            with self._database.read() as connection:
                one = seen(connection, kind, name, actor or PLATFORM)
                commit = resolve(connection, one.id, wanted or MAIN)
        except NotFound as error:
            # A release stands on content: it outlives the repository that it came from.
            kept = self.commits.of_content(wanted) if actor is None else None
            if kept is None:
                names = self.names(kind) if actor is None or actor.is_operator else []
                raise NotFound.among(kind, ref, names) from error
            commit = kept
        else:
            self.admissions.check(one, actor or PLATFORM)
            name = one.name
        folder = self._checkout(kind, name, commit)
        return Revision(kind, name, commit.digest, folder, commit.facts, commit.created_at)

    def all(self, kind: Kind, actor: Actor = PLATFORM) -> list[Listed]:
        """What there is for a caller, what changed last first, at most `MOST`; built-ins last."""
        rows, _ = self.listing.page(Query(kind, limit=MOST), actor)
        found = [Listed(row.name, row.head, row.about, row.modified_at) for row in rows]
        if kind == "model":
            built_in = (self._built_in(name) for name in _foundation_names())
            about = About(architecture="built in")
            found += [Listed(m.name, m.revision, about, m.created_at) for m in built_in if m]
        return found

    def names(self, kind: Kind) -> list[str]:
        """Names that `get` knows, short names of built-ins included."""
        listed = list(dict.fromkeys(one.name for one in self.all(kind)))
        return listed + (_foundation_names() if kind == "model" else [])

    def is_built_in(self, name: str) -> bool:
        """Whether a model of the package has this name, the owner's left out or not."""
        return self._built_in(name) is not None

    def keep_file(self, path: Path) -> Entry:
        """A file's bytes, in the store."""
        if path.stat().st_size <= TEXT_BYTES:
            return self.keep(path.read_bytes())
        digest, size = self.blobs.put_file(path)
        return Entry(digest, size, "", "")

    def keep(self, data: bytes) -> Entry:
        """Bytes, in the store."""
        oid = "" if b"\0" in data[:8000] else blob_oid(data)  # git's own way to tell text
        return Entry(self.blobs.put(data), len(data), oid, "")

    def refresh(self, kind: Kind, name: str) -> Repository:
        """The repository, with what its newest files say of it read anew where they changed."""
        one = self.repositories.find(kind, name)
        files = self.commits.files(self.commits.resolve(one.id, one.head))
        if one.about.commit != one.head or self._has_come(one, files):
            about = describe(files, self.blobs.read, one.head)
            self.repositories.describe(one, about)
            one = msgspec.structs.replace(one, about=about)
        return one

    def _has_come(self, one: Repository, files: Files) -> bool:
        """Whether the weights of a mirrored model are here now, and were not when it was described."""
        if not one.settings.mirror or one.about.parameters:
            return False
        weights = [entry for path, entry in files.items() if path.endswith(".safetensors")]
        return bool(weights) and all(self.blobs.has(entry.digest) for entry in weights)

    def _replace(self, one: Repository, puts: Sequence[Put], words: Words) -> None:
        """Make the files of the branch main those, and no others."""
        keep = {put.path for put in puts}
        while True:
            at = self.commits.resolve(one.id)
            gone = [Remove(path) for path in self.commits.files(at) if path not in keep]
            with suppress(Moved):
                self.commits.commit(one.id, [*gone, *puts], words, parent=at.id)
                return

    def _built_in(self, name: str) -> Revision | None:
        short = name.removeprefix(f"{BUILT_IN}/")
        if short not in _foundation_names():
            return None
        folder = FOUNDATION / short
        stamp = max(path.stat().st_mtime for path in folder.iterdir())
        facts = {"source": "built in"}
        revision = _built_in_revision(folder, stamp)
        return Revision("model", f"{BUILT_IN}/{short}", revision, folder, facts, stamp)

    def _checkout(self, kind: Kind, name: str, commit: Commit) -> Path:
        """A folder with the commit's files; half a checkout never has that name."""
        # Named for people: the folder's name is what an engine's log and errors call the model.
        short = f"{name.replace('/', '--')}@{commit.digest[:16]}"
        folder = self._cache / kind / short
        if folder.is_dir():
            return folder
        # One of its own for each caller: another must not take files out of it.
        partial = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
        try:
            partial.mkdir(parents=True)
            for path, entry in self.commits.files(commit).items():
                self.blobs.fetch(entry.digest, partial / path)
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another was faster with the same content
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


@lru_cache(maxsize=16)
def _built_in_revision(folder: Path, stamp: float) -> str:
    """`stamp`, the newest modification time, is there to forget what has changed."""
    return content_digest({
        p: Entry(digest_file(folder / p), (folder / p).stat().st_size, "", "")
        for p in _files(folder)
    })


@lru_cache(maxsize=1)
def _foundation_names() -> list[str]:
    return sorted(path.parent.name for path in FOUNDATION.glob("*/config.json"))
