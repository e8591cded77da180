"""Discussions and pull requests: who may open one, what was said, and how changes come in.

The changes of a pull request are commits on a branch of its own, `refs/pr/N`, which its author may
write to. Merging makes one commit of them.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.hub.access import Actor, NotYours
from baigong.hub.commits import Change, Commit, Commits, Put, Ref, Remove, branch_of
from baigong.hub.manifest import Files
from baigong.hub.names import fold
from baigong.hub.repositories import Repository
from baigong.store.database import Database
from baigong.store.hub_tables import discussions, refs, remarks
from baigong.store.turns import take_turns

Status = Literal["draft", "open", "closed", "merged"]
PULL = "refs/pr/"
_NUMBER = re.compile(r"[0-9]{1,9}")
_LONGEST_TITLE = 200
_MOST = 2**31 - 1  # the largest number that a column takes; none is given so many
_LONGEST_COMMENT = 65536


class Discussion(msgspec.Struct, frozen=True):
    """See the table. One with a `target` is a pull request."""

    number: int
    title: str
    author: str
    status: Status
    target: str
    base: str
    merged: str
    created_at: float

    @property
    def is_pull(self) -> bool:
        return bool(self.target)

    @property
    def branch(self) -> str:
        return f"{PULL}{self.number}"


class Remark(msgspec.Struct, frozen=True):
    """Something said or done.

    Attributes:
        id: random hex.
        kind: of what follows.
        author: whose it is.
        at: seconds since the epoch.
        content: of a comment `text`, `edited_at` and `hidden`; of a status `status`; of a title
            `before` and `after`.
    """

    id: str
    kind: Literal["comment", "status", "title"]
    author: str
    at: float
    content: dict[str, Any]


class Discussions:
    """The discussions of repositories. All methods block."""

    def __init__(self, database: Database, commits: Commits) -> None:
        self._database = database
        self._commits = commits

    def open(
        self, one: Repository, actor: Actor, title: str, text: str, *, target: str = ""
    ) -> Discussion:
        """Begin one; with a `target`, a branch, a pull request whose branch begins there.

        Raises:
            NotYours: the repository takes none from others.
            NotFound: there is no such branch.
            InvalidInput: the title or the text.
        """
        if not one.settings.discussions and not actor.owns(one.owner):
            raise NotYours("Discussions are disabled for this repository.")
        _check_text(text)
        now = time.time()
        with self._database.begin() as connection:
            take_turns(connection, f"discussions {one.id}")
            base = branch_of(connection, one.id, target).commit if target else ""
            newest = select(func.max(discussions.c.number)).where(_of(one))
            made = Discussion(
                (connection.scalar(newest) or 0) + 1,
                _title(title),
                actor.user,
                "draft" if target else "open",
                target,
                base,
                "",
                now,
            )
            row = {"repository": one.id, **msgspec.structs.asdict(made)}
            connection.execute(insert(discussions).values(row))
            if made.is_pull:
                branch = Ref("pull", made.branch, base)
                row = {"repository": one.id, **msgspec.structs.asdict(branch)}
                connection.execute(insert(refs).values(row))
            _say(connection, one, made, "comment", actor, {"text": text})
        return made

    def withdraw(self, one: Repository, discussion: Discussion) -> None:
        """Take away a pull request that came to nothing."""
        number, pull = (
            discussion.number,
            (refs.c.kind == "pull") & (refs.c.name == discussion.branch),
        )
        said = (remarks.c.repository == one.id) & (remarks.c.discussion == number)
        with self._database.begin() as connection:
            connection.execute(delete(refs).where(refs.c.repository == one.id, pull))
            connection.execute(delete(remarks).where(said))
            connection.execute(delete(discussions).where(_of(one), discussions.c.number == number))

    def find(self, one: Repository, number: int) -> Discussion:
        """
        Raises:
            NotFound: there is none.
        """
        with self._database.read() as connection:
            return _find(connection, one, number)

    def all(self, one: Repository) -> list[Discussion]:
        """The newest first."""
        query = select(discussions).where(_of(one)).order_by(discussions.c.number.desc())
        with self._database.read() as connection:
            return [_discussion(row) for row in connection.execute(query)]

    def remarks(self, one: Repository, number: int) -> list[Remark]:
        """The earliest first."""
        with self._database.read() as connection:
            query = select(remarks).where(
                remarks.c.repository == one.id, remarks.c.discussion == number
            )
            return [_remark(row) for row in connection.execute(query.order_by(remarks.c.at))]

    def commits_of(self, one: Repository, discussion: Discussion) -> list[Commit]:
        """What is on a pull request's branch and was not where it began, the earliest first."""
        found = []
        for commit in self._commits.log(one.id, self._commits.resolve(one.id, discussion.branch)):
            if commit.id == discussion.base:
                break
            found.append(commit)
        return found[::-1]

    def check_writes(self, one: Repository, actor: Actor, branch: str) -> None:
        """Whether the caller may commit to a branch: an owner, or whoever opened the pull request.

        Raises:
            NotYours: neither.
        """
        number = branch.removeprefix(PULL)
        if branch.startswith(PULL) and _NUMBER.fullmatch(number) and not actor.owns(one.owner):
            pull = self.find(one, int(number))
            if fold(pull.author) == fold(actor.user):
                return
        actor.check_owns(one.owner)

    def comment(self, one: Repository, actor: Actor, number: int, text: str) -> Remark:
        """
        Raises:
            NotFound: there is no such discussion.
            InvalidInput: the text.
        """
        _check_text(text)
        with self._database.begin() as connection:
            discussion = _find(connection, one, number)
            return _say(connection, one, discussion, "comment", actor, {"text": text})

    def edit(
        self, one: Repository, actor: Actor, number: int, remark: str, text: str | None
    ) -> Remark:
        """Give a comment another text; None hides it.

        Raises:
            NotFound: there is no such comment.
            NotYours: it is somebody else's.
            InvalidInput: the text.
        """
        _check_text(text or "hidden")
        with self._database.begin() as connection:
            wanted = remarks.c.id == remark
            query = select(remarks).where(
                wanted,
                remarks.c.repository == one.id,
                remarks.c.discussion == number,
                remarks.c.kind == "comment",
            )
            if (row := connection.execute(query).first()) is None:
                raise NotFound(f"There is no comment '{remark[:40]}'.")
            if fold(row.author) != fold(actor.user):
                actor.check_owns(one.owner if text is None else row.author)
            content = {**row.content, "text": text or "", "edited_at": time.time()}
            content["hidden"] = text is None
            connection.execute(update(remarks).where(wanted).values(content=content))
            return msgspec.structs.replace(_remark(row), content=content)

    def rename(self, one: Repository, actor: Actor, number: int, title: str) -> Remark:
        """
        Raises:
            NotYours: neither the discussion nor the repository is the caller's.
            InvalidInput: the title.
        """
        with self._database.begin() as connection:
            discussion = _find(connection, one, number)
            _check_leads(one, discussion, actor)
            content = {"before": discussion.title, "after": _title(title)}
            _change(connection, one, number, title=content["after"])
            return _say(connection, one, discussion, "title", actor, content)

    def set_status(
        self, one: Repository, actor: Actor, number: int, status: Literal["open", "closed"]
    ) -> Remark:
        """
        Raises:
            NotYours: neither the discussion nor the repository is the caller's.
            Conflict: it is merged.
        """
        with self._database.begin() as connection:
            discussion = _find(connection, one, number)
            _check_leads(one, discussion, actor)
            _check_unmerged(discussion)
            _change(connection, one, number, status=status)
            return _say(connection, one, discussion, "status", actor, {"status": status})

    def changes(self, one: Repository, discussion: Discussion) -> list[Change]:
        """What a pull request would change on the branch that it is for.

        Raises:
            InvalidInput: it is none.
            Conflict: it is merged, or files changed on both sides.
        """
        if not discussion.is_pull:
            raise InvalidInput("It is not a pull request.", param="discussion")
        _check_unmerged(discussion)
        read = self._commits
        before, ours, theirs = (
            read.files(read.resolve(one.id, revision))
            for revision in (discussion.base, discussion.target, discussion.branch)
        )
        return _merged(before, ours, theirs)

    def note_merged(
        self, one: Repository, actor: Actor, discussion: Discussion, commit: str
    ) -> Remark:
        """Say that a commit has the changes of a pull request."""
        with self._database.begin() as connection:
            _change(connection, one, discussion.number, status="merged", merged=commit)
            return _say(connection, one, discussion, "status", actor, {"status": "merged"})


def _merged(before: Files, ours: Files, theirs: Files) -> list[Change]:
    changes: list[Change] = []
    clashes = []
    for path in sorted(before.keys() | theirs.keys()):
        old, new, here = before.get(path), theirs.get(path), ours.get(path)
        if new == old or new == here:
            continue
        if here != old:
            clashes.append(path)
        changes.append(Remove(path) if new is None else Put(path, new))
    if clashes:
        raise Conflict(
            f"Changed on both sides: {', '.join(clashes[:5])}.",
            hint="Commit to the pull request what shall be there.",
        )
    return changes


def _find(connection: Connection, one: Repository, number: int) -> Discussion:
    query = select(discussions).where(_of(one), discussions.c.number == min(number, _MOST))
    if (row := connection.execute(query).first()) is None:
        raise NotFound(f"There is no such discussion in {one.name}.")
    return _discussion(row)


def _say(
    connection: Connection,
    one: Repository,
    discussion: Discussion,
    kind: Literal["comment", "status", "title"],
    actor: Actor,
    content: Mapping[str, Any],
) -> Remark:
    made = Remark(secrets.token_hex(12), kind, actor.user, time.time(), dict(content))
    row = {"repository": one.id, "discussion": discussion.number, **msgspec.structs.asdict(made)}
    connection.execute(insert(remarks).values(row))
    return made


def _change(connection: Connection, one: Repository, number: int, **values: Any) -> None:
    connection.execute(
        update(discussions).where(_of(one), discussions.c.number == number).values(**values)
    )


def _title(title: str) -> str:
    title = " ".join(title.split())
    if not 1 <= len(title) <= _LONGEST_TITLE:
        raise InvalidInput(
            f"A title has 1 to {_LONGEST_TITLE} characters, this one {len(title)}.", param="title"
        )
    return title


def _check_text(text: str) -> None:
    if not text.strip() or len(text) > _LONGEST_COMMENT:
        raise InvalidInput(f"A comment has 1 to {_LONGEST_COMMENT} characters.", param="comment")


def _check_leads(one: Repository, discussion: Discussion, actor: Actor) -> None:
    if fold(discussion.author) != fold(actor.user):
        actor.check_owns(one.owner)


def _check_unmerged(discussion: Discussion) -> None:
    if discussion.status == "merged":
        raise Conflict("It is merged already.")


def _of(one: Repository) -> Any:
    return discussions.c.repository == one.id


def _discussion(row: Row[Any]) -> Discussion:
    return Discussion(*(getattr(row, name) for name in Discussion.__struct_fields__))


def _remark(row: Row[Any]) -> Remark:
    return Remark(*(getattr(row, name) for name in Remark.__struct_fields__))
