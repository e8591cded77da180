"""Names that are not here, looked up elsewhere: the repository at once, its large files on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import httpx2
import msgspec

from baigong.errors import Conflict, NotFound, Unreachable
from baigong.hub.access import Actor
from baigong.hub.commits import Commit, Commits, Put, Words
from baigong.hub.manifest import Entry, Files, blob_oid
from baigong.hub.mirror.arriving import Arriving, answer_of
from baigong.hub.mirror.sources import Found, Source
from baigong.hub.names import MAIN, Kind, check_name
from baigong.hub.remote import RemoteFile
from baigong.hub.repositories import Repositories, Repository, Settings
from baigong.store.blobs import Blobs
from baigong.types import Progress, Report

FRESH_S = 300.0  # how long a branch elsewhere is taken to be where it was
MISSED_S = 60.0  # and a name not to be there
_SMALL = 1 << 20  # files up to here come with the name
_MOST_SMALL = 2000


class Mirror:
    """Repositories of other hubs, as if they were here. All methods block."""

    def __init__(
        self,
        repositories: Repositories,
        commits: Commits,
        blobs: Blobs,
        refresh: Callable[[Kind, str], Repository],
        sources: Sequence[Source],
    ) -> None:
        """`refresh` reads anew what a repository's files say of it."""
        self._repositories, self._commits, self._blobs = repositories, commits, blobs
        self._refresh = refresh
        self._sources = {source.name: source for source in sources}
        self._looked: dict[tuple[Kind, str, str], float] = {}  # until when not to look again
        self._arriving: dict[str, Arriving] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()

    def seen(self, kind: Kind, name: str, actor: Actor, revision: str = MAIN) -> Repository:
        """As Repositories.seen, and brought here or up to date where it lies elsewhere.

        Raises:
            NotFound: it is nowhere, or not for the caller.
            Unreachable: it is not here, and nobody could be asked.
        """
        try:
            here = self._repositories.seen(kind, name, actor)
        except NotFound:
            # One that is here and not for the caller is nobody else's to name either.
            is_here = self._repositories.exists(kind, name)
            asks = self._sources and not actor.is_visitor
            if is_here or not asks or self._is_known(kind, name, revision):
                raise
            with self._asking:
                self._adopt(kind, name, revision)
            return self._repositories.seen(kind, name, actor)
        source = self._sources.get(here.settings.mirror)
        stays = here.settings.pinned or actor.is_visitor
        if source is None or stays or self._is_known(kind, here.name, revision):
            return here
        self._follow(here, source, revision)
        return self._refresh(kind, here.name)

    def pieces(
        self, one: Repository, commit: Commit, path: str, start: int, stop: int
    ) -> Iterator[bytes]:
        """Bytes start:stop of a file, from here or as they come.

        Raises:
            NotFound: there is no such file.
            Unreachable: it is not here, and does not come.
        """
        entry = self._commits.files(commit)[path]
        while not self._blobs.has(entry.digest):
            arriving = self._begin(one, commit, path, entry)
            if arriving is not None:
                return arriving.pieces(start, stop)
        return self._blobs.pieces(entry.digest, start, stop)

    def complete(self, one: Repository, report: Report, revision: str = MAIN) -> None:
        """Bring every file of a revision here, and leave the repository as it is from now on.

        Raises:
            Unreachable: what has arrived is kept.
        """
        commit = self._commits.resolve(one.id, revision)
        files = self._commits.files(commit)
        total, done, began = sum(e.size for e in files.values()), 0, time.monotonic()
        for path, entry in files.items():
            while not self._blobs.has(entry.digest):
                arriving = self._begin(one, commit, path, entry)
                if arriving is not None:
                    for piece in arriving.pieces(0, entry.size):
                        done += len(piece)
                        rate = done / max(time.monotonic() - began, 1e-6)
                        report(Progress(done, total, "bytes", rate))
                    arriving.wait()
                    done -= entry.size
            done += entry.size
        report(Progress(total, total, "bytes"))
        settings = msgspec.structs.replace(one.settings, pinned=True)
        self._repositories.change(one, settings=settings)

    def _begin(self, one: Repository, commit: Commit, path: str, entry: Entry) -> Arriving | None:
        """The fetch of a file, begun or joined; None where it has just ended well."""
        source = self._sources.get(one.settings.mirror)
        if source is None:
            raise Unreachable(
                f"{path} of '{one.name}' was not brought here, and its hub is not asked any more.",
                hint=f"Set BAIGONG_MIRRORS to ask '{one.settings.mirror}' again.",
            )
        with self._lock:
            self._arriving = {d: a for d, a in self._arriving.items() if not a.is_over}
            if self._blobs.has(entry.digest):
                return None
            if (found := self._arriving.get(entry.digest)) is None:
                url, query = source.address(one.kind, one.name, commit.id, path)
                found = Arriving(self._blobs, entry.digest, entry.size, url, query)
                self._arriving[entry.digest] = found
            return found

    def _is_known(self, kind: Kind, name: str, revision: str) -> bool:
        return time.monotonic() < self._looked.get((kind, name, revision), 0.0)

    def _note(self, kind: Kind, name: str, revision: str, seconds: float) -> None:
        if len(self._looked) > 10_000:
            self._looked.clear()
        self._looked[kind, name, revision] = time.monotonic() + seconds

    def _adopt(self, kind: Kind, name: str, revision: str) -> None:
        """Bring it here, if it is elsewhere."""
        check_name(name)
        unreachable: Unreachable | None = None
        for source in self._sources.values():
            try:
                found = source.ask(kind, name, revision)
            except NotFound:
                continue
            except Unreachable as error:
                unreachable = error
                continue
            puts = self._puts(source, kind, name, found, {})
            settings = Settings(mirror=source.name)
            words = _words(source, found)
            try:
                self._repositories.create(
                    kind, name, puts, words, settings=settings, elsewhere=found.commit
                )
            except Conflict:  # another process was faster
                pass
            self._note(kind, name, revision, FRESH_S)
            self._refresh(kind, name)
            return
        if unreachable is not None:
            raise unreachable
        self._note(kind, name, revision, MISSED_S)

    def _follow(self, here: Repository, source: Source, revision: str) -> None:
        """Bring a revision up to date; what is here stays good where nobody can be asked, and for
        others while one asks."""
        self._note(here.kind, here.name, revision, MISSED_S)
        try:
            found = source.ask(here.kind, here.name, revision)
            puts = self._puts(source, here.kind, here.name, found, self._known(here, found))
        except (NotFound, Unreachable):
            return
        branch = None if found.commit == revision else revision
        self._commits.mirror(here.id, found.commit, puts, _words(source, found), branch)
        self._note(here.kind, here.name, revision, FRESH_S)

    def _known(self, here: Repository, found: Found) -> Files:
        """The files of a commit that is here, or of the newest one."""
        try:
            at = self._commits.resolve(here.id, found.commit)
        except NotFound:
            at = self._commits.resolve(here.id)
        return self._commits.files(at)

    def _puts(self, source: Source, kind: Kind, name: str, found: Found, known: Files) -> list[Put]:
        """The files; those whose sha256 is not told, and small ones, are fetched unless known."""
        same = {
            file.path: entry
            for file in found.files
            if (entry := known.get(file.path)) is not None
            and (entry.digest == file.sha256 or (file.oid and entry.oid == file.oid))
        }
        rest = [file for file in found.files if file.path not in same]
        small = [file for file in rest if not file.sha256 or file.size <= _SMALL]
        if len(small) > _MOST_SMALL:
            raise Unreachable(
                f"'{name}' has {len(small)} small files, too many to fetch while somebody waits.",
                hint=f"Bring it here with `baigong pull {name} --whole`.",
            )
        puts = [Put(path, entry) for path, entry in same.items()]
        puts += [
            Put(file.path, Entry(file.sha256, file.size, "", ""))
            for file in rest
            if file.sha256 and file.size > _SMALL
        ]
        with httpx2.Client(timeout=60) as client:
            fetched = [self._fetch(client, source, kind, name, found, file) for file in small]
        return [*puts, *fetched]

    def _fetch(
        self,
        client: httpx2.Client,
        source: Source,
        kind: Kind,
        name: str,
        found: Found,
        file: RemoteFile,
    ) -> Put:
        url, query = source.address(kind, name, found.commit, file.path)
        try:
            with answer_of(client, url, query) as response:
                data = response.raise_for_status().read()
        except httpx2.HTTPError as error:
            raise Unreachable(f"{source.name} did not send {file.path}: {error}") from error
        is_text = not file.sha256
        put = self._blobs.put(data)
        if (
            len(data) != file.size
            or (file.sha256 and put != file.sha256)
            or (is_text and file.oid and blob_oid(data) != file.oid)
        ):
            raise Unreachable(f"{file.path} of '{name}' arrived damaged.", hint="Ask again.")
        return Put(file.path, Entry(put, len(data), blob_oid(data) if is_text else "", ""))


def _words(source: Source, found: Found) -> Words:
    return Words(f"As at {source.name}, {found.commit[:12]}", source.name.partition("+")[0])
