"""What repositories, branches and files in them may be called."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from baigong.errors import InvalidInput

Kind = Literal["model", "dataset", "recipe"]
KINDS: tuple[Kind, ...] = ("model", "dataset", "recipe")
MAIN = "main"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_PATH = 1024  # bytes
_LONGEST_PART = 255


def check_name(name: str) -> None:
    """Whether a repository may be called so.

    Raises:
        InvalidInput: it may not.
    """
    owner, _, rest = name.partition("/")
    for part in (owner, rest):
        if not _PART.fullmatch(part) or ".." in part or part.endswith(".git"):
            raise InvalidInput(
                f"'{name[:200]}' is not a name in the hub.",
                hint="Write owner/name with letters, digits, '-', '_' and '.', at most 96 each.",
                param="name",
            )


def check_namespace(name: str) -> None:
    """
    Raises:
        InvalidInput: a user or an organisation may not be called so.
    """
    check_name(f"{name}/x")


def check_ref(name: str) -> None:
    """
    Raises:
        InvalidInput: a branch or a tag may not be called so.
    """
    parts = name.split("/")
    if not _REF.fullmatch(name) or any(p in {"", ".", ".."} or p.endswith(".lock") for p in parts):
        raise InvalidInput(
            f"'{name[:200]}' is not a name for a branch or a tag.",
            hint="Use letters, digits, '.', '_', '-' and '/'.",
            param="revision",
        )
    if _COMMIT.fullmatch(name):
        raise InvalidInput(f"'{name}' would be taken for a commit.", param="revision")


def check_path(path: str) -> None:
    """Whether a file of a repository may be called so: the same on every system that checks it out.

    Raises:
        InvalidInput: it leads elsewhere, is too long, or has what some system cannot store.
    """
    plain = PurePosixPath(path)
    is_odd = (
        not path
        or plain.is_absolute()
        or plain.as_posix() != path
        or "\\" in path
        or not path.isprintable()
        or len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH
    )
    for part in plain.parts:
        is_odd |= part in {"..", "."} or part.lower() == ".git" or part[-1] in " ."
        is_odd |= ":" in part or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART
    if is_odd:
        raise InvalidInput(
            f"'{path[:200]}' is not a path of a file in a repository.",
            hint="Write folder/file with '/', without '..', '.git', ':' and control characters.",
            param="path",
        )


def fold(name: str) -> str:
    """How a name is compared."""
    return name.lower()
