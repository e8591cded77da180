"""Files and folders. What was not changed since the last look is not opened."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from baigong.errors import InvalidInput, Problem
from baigong.knowledge.connectors.skipped import MAX_DOCUMENT_BYTES, TOO_LARGE, readable, utf8
from baigong.knowledge.connectors.source import Content, Entry, Gone, Listing
from baigong.knowledge.formats import Unreadable

_TRIES = 3
_RACY_S = 2.0  # FAT counts time in steps of two seconds; nothing in use is coarser


class Folder:
    """A folder with all below it, or a single file.

    Hidden files are left out in silence. A link that leads out of the folder is not followed; nor
    is a link to a folder.
    """

    forgets = True

    def __init__(self, path: Path) -> None:
        self._root = path.expanduser().absolute()
        self._paths: dict[str, Path] | None = None

    @property
    def name(self) -> str:
        return utf8(os.path.normpath(self._root))

    def list(self) -> Listing:
        """All files of kinds that we read, by name.

        Raises:
            InvalidInput: there is no such file or folder, or the disk fails.
        """
        if not self._root.exists():
            raise InvalidInput(
                f"There is no file or folder {self.name}.", hint="Check the path.", param="sources"
            )
        problems: list[Problem] = []
        try:
            found = dict(sorted(_walk(self._root, problems)))
        except OSError as error:
            raise InvalidInput(
                f"{self.name} cannot be listed: {error.strerror}.",
                hint="Check the disk and its mount; nothing was removed.",
                param="sources",
            ) from error
        names, others = readable(found)
        self._paths = {}
        entries = []
        for name in names:
            entry = _entry(name, found[name], problems)
            if entry is not None:
                self._paths[name] = found[name]
                entries.append(entry)
        return Listing(tuple(entries), (*problems, *others))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """The bytes of a file, all from one moment."""
        if self._paths is None:
            self.list()
        path = (self._paths or {}).get(entry.path)
        if path is None:
            raise Gone("is no longer there.")
        try:
            return self._read(path, stamp)
        except FileNotFoundError as error:
            raise Gone("is no longer there.") from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}.") from error

    def _read(self, path: Path, stamp: str | None) -> Content | None:
        # The file may have become a link or a pipe since it was listed.
        if self._root.is_dir() and not path.resolve(strict=True).is_relative_to(
            self._root.resolve()
        ):
            raise Unreadable("is a link that leaves the folder; not followed.")
        for _ in range(_TRIES):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                looked = time.time()
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise Unreadable("is not a plain file.")
                if _stamp(before) == stamp:
                    return None
                data = file.read(MAX_DOCUMENT_BYTES + 1)
                after = os.fstat(descriptor)
                # Written to again within one tick of the clock, it would look the same.
                is_racy = looked - max(before.st_mtime, before.st_ctime) < _RACY_S
                file.seek(0)
                is_steady = not is_racy or file.read(MAX_DOCUMENT_BYTES + 1) == data
            if len(data) > MAX_DOCUMENT_BYTES:
                raise Unreadable(TOO_LARGE)
            if is_steady and _stamp(before) == _stamp(after) and len(data) == before.st_size:
                return Content(data, None if is_racy else _stamp(before))
        raise Unreadable("is being written to; it will be read the next time.")


def _walk(top: Path, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file, links resolved and checked."""
    root = top.resolve()
    if not root.is_dir():
        yield utf8(top.name), root
        return

    def closed(error: OSError) -> None:
        if not isinstance(error, PermissionError):
            raise error  # a disk that fails must not look like one with fewer files
        name = utf8(os.path.relpath(error.filename, root))
        problems.append(Problem(name, None, "", "cannot be opened; skipped."))

    for folder, folders, names in os.walk(root, onerror=closed):  # not behind links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        for name in folders:
            if (here / name).is_symlink():
                _check_link(here / name, root, problems)
        for name in names:
            path = here / name
            if name.startswith(".") or (
                path.is_symlink() and not _check_link(path, root, problems)
            ):
                continue
            yield utf8(path.relative_to(root).as_posix()), path.resolve()


def _entry(name: str, path: Path, problems: list[Problem]) -> Entry | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return Entry(name)  # reading it will tell why, and what was read of it before stays
    if not stat.S_ISREG(status.st_mode):  # a pipe would block the reader for ever
        problems.append(Problem(name, None, "", "is not a plain file; skipped."))
        return None
    if status.st_size > MAX_DOCUMENT_BYTES:
        problems.append(Problem(name, None, "", TOO_LARGE))
        return None
    return Entry(name, _stamp(status), status.st_size)


def _stamp(status: os.stat_result) -> str:
    # st_ctime too: tools that copy a file set st_mtime back.
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _check_link(link: Path, root: Path, problems: list[Problem]) -> bool:
    """Whether a link stays inside the folder."""
    name = utf8(link.relative_to(root).as_posix())
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        problems.append(Problem(name, None, "", "is a link to nothing; skipped."))
        return False
    if target.is_relative_to(root):
        return True
    problems.append(Problem(name, None, "", "is a link that leaves the folder; not followed."))
    return False
