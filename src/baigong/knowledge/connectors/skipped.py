"""What every source passes over in the same way: kinds that we do not read, and what is too large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from baigong.errors import Problem
from baigong.knowledge.formats import format_of

MAX_DOCUMENT_BYTES = 256 << 20
TOO_LARGE = f"is larger than {MAX_DOCUMENT_BYTES >> 20} MB; skipped."


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder on the way to it, is left out in silence."""
    return any(part.startswith(".") for part in name.split("/"))


def readable(names: Iterable[str]) -> tuple[list[str], list[Problem]]:
    """The names of kinds that we read, in their order, and one problem for each other kind."""
    found: list[str] = []
    others: Counter[str] = Counter()
    for name in names:
        if format_of(name) is None:
            others[f"*{PurePosixPath(name).suffix.lower()}"] += 1
        else:
            found.append(name)
    return found, [
        Problem(
            kind,
            None,
            "",
            f"{count} {'file' if count == 1 else 'files'} of a kind that we do not read; skipped.",
        )
        for kind, count in sorted(others.items())
    ]


def utf8(name: str) -> str:
    """A name that can be stored: file systems and repositories may hold names that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
