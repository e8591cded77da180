"""What is found in a file, and what follows from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from typing_extensions import override

from baigong.errors import Refused
from baigong.hub.names import Kind

# pickle, code: runs when it is loaded. loader: when a dataset is. opaque: cannot be looked into.
# script: runs when a person runs it. archive: leads outside where it is unpacked. bomb: unpacks to
# more than anybody has.
What = Literal[
    "pickle", "code", "loader", "opaque", "script", "archive", "bomb", "broken", "secret"
]
_NEVER = frozenset({"bomb", "broken"})
_UNLESS_ALLOWED: dict[Kind, frozenset[str]] = {
    "model": frozenset({"pickle", "code", "opaque"}),
    "dataset": frozenset({"loader"}),
    "recipe": frozenset(),
}
_GRAVE = _NEVER.union(*_UNLESS_ALLOWED.values())
_SHOWN = 20


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """`said` goes on from the file's name; `line` is 0 where there is none."""

    what: What
    said: str
    line: int = 0

    @property
    def is_grave(self) -> bool:
        """Whether some kind of repository refuses it."""
        return self.what in _GRAVE


class Noted(NamedTuple):
    """A finding in a file of a repository."""

    path: str
    finding: Finding

    @override
    def __str__(self) -> str:
        where = f"{self.path}:{self.finding.line}" if self.finding.line else self.path
        return f"{where} {self.finding.said}"


class Findings(NamedTuple):
    """What whoever commits is told of."""

    noted: tuple[Noted, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each, and one for those that are too many."""
        return tuple(_lines(self.noted))


class Unsafe(Refused):
    """A commit holds what may not be in such a repository; nothing of it was kept."""

    code = "unsafe_content"

    @classmethod
    def of(cls, name: str, noted: list[Noted]) -> Unsafe:
        """The error that names the files."""
        hint = "Send files that are whole."
        if not all(one.finding.what in _NEVER for one in noted):
            hint = (
                "Send weights as safetensors, data as files of text or Parquet, and no code. An "
                f"operator may allow them here: baigong hub allow-code {name}"
            )
        return cls("\n".join(_lines(noted)), hint=hint)


def is_refused(finding: Finding, kind: Kind, *, allows_code: bool) -> bool:
    """Whether it may not be in a repository of this kind."""
    if finding.what in _NEVER:
        return True
    return not allows_code and finding.what in _UNLESS_ALLOWED[kind]


def _lines(noted: tuple[Noted, ...] | list[Noted]) -> list[str]:
    more = len(noted) - _SHOWN
    return [*map(str, noted[:_SHOWN]), *([f"... and {more} more"] if more > 0 else [])]
