"""Which files a knowledge base is made of: found, checked, named and hashed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from baigong.errors import Conflict, InvalidInput, Problem
from baigong.knowledge.formats import format_of

MAX_FILE_BYTES = 256 << 20


class SourceFile(msgspec.Struct, frozen=True):
    """A file to read. `name` is its path below the source folder, with `/` on every system."""

    name: str
    path: Path
    size_bytes: int
    digest: str

    def read(self) -> bytes:
        """Its bytes, the same that were hashed.

        Raises:
            Conflict: it was written to since.
        """
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise Conflict(f"{self.name} was changed while it was being read.", hint="Build again.")
        return data


def find_files(sources: Sequence[Path]) -> tuple[list[SourceFile], list[Problem]]:
    """The readable files below `sources`, sorted by name, and what was passed over.

    Hidden files are left out in silence. A link that leads out of its source folder is not
    followed; nor is a link to a folder.

    Raises:
        InvalidInput: a source does not exist, or two files would have the same name.
    """
    files: dict[str, SourceFile] = {}
    problems: list[Problem] = []
    other_kinds: Counter[str] = Counter()
    for source in sources:
        if not source.exists():
            raise InvalidInput(
                f"There is no file or folder {source}.", hint="Check the path.", param="sources"
            )
        for name, path in _walk(source, problems):
            if format_of(name) is None:
                other_kinds[f"*{path.suffix.lower()}"] += 1
                continue
            found = _file(name, path, problems)
            if found is not None:
                _add(files, found)
    for kind, count in sorted(other_kinds.items()):
        what = (
            f"{count} {'file' if count == 1 else 'files'} of a kind that we do not read; skipped."
        )
        problems.append(Problem(kind, None, "", what))
    return [files[name] for name in sorted(files)], problems


def _add(files: dict[str, SourceFile], found: SourceFile) -> None:
    same = files.setdefault(found.name, found)
    if same.digest != found.digest:
        raise InvalidInput(
            f"Two sources hold different files named '{found.name}': {same.path}, {found.path}.",
            hint="Put both folders into one and give that as the source.",
            param="sources",
        )


def _walk(source: Path, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file of a source, links resolved and checked."""
    if not source.is_dir():
        yield _utf8(source.name), source
        return
    root = source.resolve()
    for folder, folders, names in os.walk(root):  # does not enter folders behind links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in linked:
            _check_link(here / name, root, problems)
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or (
                path.is_symlink() and not _check_link(path, root, problems)
            ):
                continue
            yield _utf8(path.relative_to(root).as_posix()), path.resolve()


def _utf8(name: str) -> str:
    """A name that can be stored: a file system may hold names that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check_link(link: Path, root: Path, problems: list[Problem]) -> bool:
    """Whether a link stays inside the source folder."""
    name = link.relative_to(root).as_posix()
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        problems.append(Problem(name, None, "", "is a link to nothing; skipped."))
        return False
    if target.is_relative_to(root):
        return True
    problems.append(Problem(name, None, "", "is a link that leaves the folder; not followed."))
    return False


def _file(name: str, path: Path, problems: list[Problem]) -> SourceFile | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block the build for ever
            problems.append(Problem(name, None, "", "is not a plain file; skipped."))
            return None
        if status.st_size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES >> 20
            problems.append(Problem(name, None, "", f"is larger than {limit} MB; skipped."))
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (PermissionError, FileNotFoundError) as error:
        problems.append(Problem(name, None, "", f"cannot be read: {error.strerror}; skipped."))
        return None
    return SourceFile(name, path, status.st_size, digest)
