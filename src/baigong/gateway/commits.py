"""The one way by which doors commit: who may, and what, is checked, and what the files say is read anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from baigong.hub.access import Actor
from baigong.hub.commits import Change, Commit, Words
from baigong.hub.hub import Hub
from baigong.hub.names import MAIN
from baigong.hub.repositories import Repository


class Committed(NamedTuple):
    """A commit, and what whoever made it should be told."""

    commit: Commit
    warnings: tuple[str, ...] = ()


def commit(
    hub: Hub,
    actor: Actor,
    repository: Repository,
    changes: Sequence[Change],
    words: Words,
    *,
    branch: str = MAIN,
    parent: str | None = None,
) -> Committed:
    """Make the changes for a caller, as `Commits.commit` does. Blocks.

    Raises:
        NotYours: neither the repository nor the pull request is the caller's.
        NotFound: there is no such branch.
        Moved: it is not at `parent`.
        InvalidInput: a path, or the removal of what is not there; nothing is changed.
        Lost: bytes are missing.
        Unsafe: something may not be in this repository.
    """
    hub.discussions.check_writes(repository, actor, branch)
    before = hub.commits.files(hub.commits.resolve(repository.id, branch))
    found = hub.checks.check(repository, changes, before)
    made = hub.commits.commit(repository.id, changes, words, branch=branch, parent=parent)
    hub.refresh(repository.kind, repository.name)
    return Committed(made, found.warnings)
