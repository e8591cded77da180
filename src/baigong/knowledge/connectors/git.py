"""The documents of a Git repository, at the head of a branch, through the `git` command.

A bare mirror of one commit is kept in a cache folder; of the files only those that we read are
fetched, and of these only what changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from baigong.errors import BaigongError, InvalidInput, NotFound, Problem
from baigong.knowledge.connectors.fetch import read_url, shown
from baigong.knowledge.connectors.gitrun import Git, address
from baigong.knowledge.connectors.skipped import (
    MAX_DOCUMENT_BYTES,
    TOO_LARGE,
    is_hidden,
    readable,
    utf8,
)
from baigong.knowledge.connectors.source import Content, Entry, Gone, Listing
from baigong.knowledge.formats import Unreadable

# Where a person may open a file of a branch.
_PAGES = {
    "github.com": "blob",
    "gitlab.com": "-/blob",
    "gitee.com": "blob",
    "codeberg.org": "src/branch",
}
_HEAD = "refs/heads/mirror"
_NOT_FILES = {"120000": "is a link; not followed.", "160000": "is a submodule; not read."}


class Place(msgspec.Struct, frozen=True):
    """What a person wrote: `URL//folder#branch`, the last two where they are wanted.

    Attributes:
        url: of the repository: https, http or file.
        folder: below which files are read; "" is all.
        branch: "" is the one that the repository shows first.
    """

    url: str
    folder: str = ""
    branch: str = ""

    @property
    def name(self) -> str:
        folder = f"//{self.folder}" if self.folder else ""
        return f"git+{self.url}{folder}" + (f"#{self.branch}" if self.branch else "")


def read_place(text: str) -> Place:
    """The repository that `git+https://host/owner/name//docs#main` stands for.

    Raises:
        InvalidInput: it stands for none.
    """
    scheme, parted, rest = text.removeprefix("git+").partition("://")
    if not parted:
        scheme, rest = "file", text.removeprefix("git+")
    rest, _, branch = rest.partition("#")
    rest, _, folder = rest.rstrip("/").partition("//")
    folder = folder.strip("/")
    if scheme == "file":
        url = f"file://{Path(rest).expanduser().resolve()}"
    elif scheme in {"https", "http"}:
        url = str(read_url(f"{scheme}://{rest}")).rstrip("/")
    else:
        raise InvalidInput(
            f"'{shown(text)}' is not a repository that can be read.",
            hint="Write git+https://host/owner/name, with #branch or //folder if wanted.",
            param="sources",
        )
    # A branch goes to the command line: it must not look like an option or a pattern there.
    if (branch and not re.fullmatch(r"[\w][\w./+@-]*", branch)) or ".." in f"{folder}/{branch}":
        raise InvalidInput(
            f"'{shown(text)}' names no branch or folder that can be.",
            hint="Write the branch behind # and the folder behind //.",
            param="sources",
        )
    return Place(url, folder, branch)


class Repository:
    """The files of one branch, below one folder. Hidden files are left out in silence."""

    forgets = True

    def __init__(self, place: Place, cache: Path, allow: tuple[str, ...] = ()) -> None:
        """`cache` is a folder that may be emptied at any time; `allow` as in `Fetcher`."""
        self._place = place
        self._allow = allow
        key = hashlib.sha256(f"{place.url}#{place.branch}".encode()).hexdigest()[:32]
        self._git = Git(cache / "git" / key)
        self._blobs: dict[str, str] | None = None

    @property
    def name(self) -> str:
        return self._place.name

    def list(self) -> Listing:
        """The files of the newest commit, by name.

        Raises:
            InvalidInput: there is no such branch or repository, or no `git` command.
            NotFound: there is no such folder in it.
            Unreachable: the server does not answer.
        """
        place = self._place
        where = address(place.url, self._allow)
        problems: list[Problem] = []
        with self._git.alone():
            self._git.fetch(where, place.branch, _HEAD)
            found = _files(self._git.tree(_HEAD), place, problems)
            names, others = readable(found)
            self._blobs = {name: found[name] for name in names}
            self._git.complete(where, set(self._blobs.values()), _HEAD)
        entries = tuple(Entry(name, blob) for name, blob in self._blobs.items())
        return Listing(entries, (*problems, *others))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """A file as it is in the commit that was listed."""
        if self._blobs is None:
            self.list()
        blob = (self._blobs or {}).get(entry.path)
        if blob is None:
            raise Gone("is no longer in the repository.")
        if blob == stamp:
            return None
        try:
            data = self._git.blob(blob, MAX_DOCUMENT_BYTES)
        except BaigongError as error:
            raise Unreadable(str(error)) from error
        if data is None:
            raise Unreadable(TOO_LARGE)
        return Content(data, stamp=blob, url=self._page(entry.path))

    def _page(self, name: str) -> str | None:
        host = self._place.url.partition("://")[2].partition("/")[0]
        if host not in _PAGES:
            return None
        root = self._place.url.removesuffix(".git")
        branch = self._place.branch or "HEAD"
        path = f"{self._place.folder}/{name}".lstrip("/")
        return f"{root}/{_PAGES[host]}/{branch}/{path}"


def _files(
    rows: Sequence[tuple[str, str, str]], place: Place, problems: list[Problem]
) -> dict[str, str]:
    """Blob ids by name, of what is below the folder."""
    found: dict[str, str] = {}
    folder = f"{place.folder}/" if place.folder else ""
    below = [(mode, blob, utf8(path)) for mode, blob, path in rows]
    below = [row for row in below if row[2].startswith(folder)]
    if folder and not below:
        raise NotFound(
            f"There is no folder '{place.folder}' in {place.url}.",
            hint="Check what stands behind // in the address.",
            param="sources",
        )
    for mode, blob, path in below:
        name = path.removeprefix(folder)
        if is_hidden(name):
            continue
        why = _NOT_FILES.get(mode) or ("has another's name; skipped." if name in found else None)
        if why is not None:
            problems.append(Problem(name, None, "", why))
        else:
            found[name] = blob
    return dict(sorted(found.items()))
