"""Repositories: who owns them, who sees them, what they are called. Their files are in `commits`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Integer, Row, bindparam, delete, func, insert, select, update

from baigong.errors import Conflict, NotFound
from baigong.hub.about import About
from baigong.hub.access import PLATFORM, Actor
from baigong.hub.commits import Change, Commits, Words
from baigong.hub.names import Kind, check_name, fold
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import likes, moves, repositories
from baigong.store.turns import take_turns


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an owner decides of a repository.

    Attributes:
        gated: whether others ask before they may read its files.
        allows_code: whether pickles and code may be in a model's; an operator's decision.
        discussions: whether pull requests may be opened.
        mirror: the hub elsewhere that it follows.
        pinned: whether it stays as it is, whatever becomes of it there.
    """

    gated: Literal["auto", "manual"] | None = None
    allows_code: bool = False
    discussions: bool = True
    mirror: str = ""
    pinned: bool = False


class Repository(msgspec.Struct, frozen=True):
    """A row of the table; times in seconds since the epoch."""

    id: int
    kind: Kind
    name: str
    private: bool
    settings: Settings
    about: About
    head: str
    downloads: int
    likes: int
    created_at: float
    modified_at: float

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    def is_for(self, actor: Actor) -> bool:
        """Whether the caller may see it."""
        return not self.private or actor.owns(self.owner)


class Repositories:
    """The repositories of an installation. All methods block."""

    def __init__(self, database: Database, commits: Commits) -> None:
        self._database = database
        self._commits = commits

    def create(
        self,
        kind: Kind,
        name: str,
        changes: Sequence[Change],
        words: Words,
        *,
        private: bool = False,
        settings: Settings = Settings(),  # noqa: B008  frozen
        elsewhere: str = "",
    ) -> Repository:
        """A repository with its first commit, or with one of another hub by its id there.

        Raises:
            InvalidInput: its name.
            Conflict: there is one.
        """
        check_name(name)
        with self._database.begin() as connection:
            _take_name(connection, kind, name)
            now = time.time()
            if (there := _row(connection, kind, name)) is not None:
                raise Conflict(f"There is a {kind} '{there.name}' already.", hint="Commit to it.")
            _forget_move(connection, kind, name)
            values = {
                "kind": kind,
                "name": name,
                "folded": fold(name),
                "private": private,
                "settings": msgspec.to_builtins(settings),
                "about": {},
                "downloads": 0,
                "likes": 0,
                "created_at": now,
                "modified_at": now,
                "changed_at": now,
            }
            made = connection.execute(insert(repositories).values(values))
            id = made.inserted_primary_key[0]  # type: ignore[index]
            first = self._commits.first(connection, id, changes, words, elsewhere)
            connection.execute(
                update(repositories).where(repositories.c.id == id).values(head=first.id)
            )
        return self.find(kind, name)

    def find(self, kind: Kind, name: str) -> Repository:
        """By the name that it has or had, in any case.

        Raises:
            NotFound: `code` is e.g. model_not_found.
        """
        return self.seen(kind, name, PLATFORM)

    def exists(self, kind: Kind, name: str) -> bool:
        with self._database.read() as connection:
            return _look(connection, kind, name) is not None

    def seen(self, kind: Kind, name: str, actor: Actor) -> Repository:
        """The same for a caller: what may not be seen is not there.

        Raises:
            NotFound: in the same words whether it is not there or not to be seen.
        """
        with self._database.read() as connection:
            return seen(connection, kind, name, actor)

    def all(self, kind: Kind | None = None) -> list[Repository]:
        """The newest first."""
        query = select(repositories).where(_present()).order_by(repositories.c.created_at.desc())
        if kind is not None:
            query = query.where(_is(kind))
        with self._database.read() as connection:
            return [repository(row) for row in connection.execute(query)]

    def move(self, one: Repository, name: str) -> None:
        """Give it another name; the old one leads to it until another repository takes it.

        Raises:
            InvalidInput: the name.
            Conflict: it is taken.
        """
        check_name(name)
        with self._database.begin() as connection:
            _take_name(connection, one.kind, name)
            there = _row(connection, one.kind, name)
            if there is not None and there.id != one.id:
                raise Conflict(f"There is a {one.kind} '{name}' already.", hint="Use another name.")
            _forget_move(connection, one.kind, name)
            if fold(name) != fold(one.name):
                row = {"kind": one.kind, "folded": fold(one.name), "repository": one.id}
                insert_missing(connection, moves, [row])
            _change(connection, one.id, name=name, folded=fold(name))

    def change(
        self, one: Repository, *, private: bool | None = None, settings: Settings | None = None
    ) -> None:
        """Who sees it, and what its owner decides."""
        values: dict[str, Any] = {} if private is None else {"private": private}
        if settings is not None:
            values["settings"] = msgspec.to_builtins(settings)
        with self._database.begin() as connection:
            _change(connection, one.id, **values)

    def describe(self, one: Repository, about: About) -> None:
        """Keep what its files say of it."""
        with self._database.begin() as connection:
            _change(connection, one.id, about=msgspec.to_builtins(about))

    def delete(self, one: Repository) -> None:
        """Take it away. Its files leave the disk with the next collection of garbage."""
        with self._database.begin() as connection:
            connection.execute(delete(moves).where(moves.c.repository == one.id))
            gone = f"{fold(one.name)}#{one.id}"
            _change(connection, one.id, folded=gone, deleted_at=time.time())

    def like(self, one: Repository, user: str, *, likes_it: bool = True) -> None:
        """Note that a user likes it, or no longer does. Once is enough."""
        mine = (likes.c.repository == one.id) & (likes.c.user == fold(user))
        with self._database.begin() as connection:
            take_turns(connection, f"likes {one.id}")
            if likes_it:
                row = {"repository": one.id, "user": fold(user), "at": time.time()}
                insert_missing(connection, likes, [row])
            else:
                connection.execute(delete(likes).where(mine))
            counted = select(func.count()).where(likes.c.repository == one.id)
            _change(connection, one.id, likes=connection.scalar(counted) or 0)

    def liked_by(self, user: str) -> list[Repository]:
        """What a user likes, the latest first."""
        query = (
            select(repositories)
            .join(likes, likes.c.repository == repositories.c.id)
            .where(likes.c.user == fold(user), _present())
            .order_by(likes.c.at.desc())
        )
        with self._database.read() as connection:
            return [repository(row) for row in connection.execute(query)]

    def is_liked_by(self, one: Repository, user: str) -> bool:
        mine = (likes.c.repository == one.id) & (likes.c.user == fold(user))
        with self._database.read() as connection:
            return connection.execute(select(likes.c.user).where(mine)).first() is not None

    def likers(self, one: Repository) -> list[str]:
        """Who likes it, the earliest first."""
        query = select(likes.c.user).where(likes.c.repository == one.id).order_by(likes.c.at)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def count_downloads(self, counts: Mapping[int, int]) -> None:
        """Add to the counters of repositories, by id."""
        # In one order, or two servers would wait in a ring.
        rows = [{"one": id, "more": count} for id, count in sorted(counts.items())]
        added = repositories.c.downloads + bindparam("more", type_=Integer)
        one = repositories.c.id == bindparam("one")
        with self._database.begin() as connection:
            counted = update(repositories).where(one)
            connection.execute(counted.values(downloads=added, changed_at=time.time()), rows)


def seen(connection: Connection, kind: Kind, name: str, actor: Actor) -> Repository:
    """See Repositories.seen."""
    row = _look(connection, kind, name)
    found = None if row is None else repository(row)
    if found is None or not found.is_for(actor):
        error = NotFound(
            f"The {kind} '{name[:200]}' does not exist, or you may not see it.",
            hint="Check the name and the key.",
        )
        error.code = f"{kind}_not_found"
        raise error
    return found


def repository(row: Row[Any]) -> Repository:
    """The struct of a row."""
    values = {name: getattr(row, name) for name in Repository.__struct_fields__}
    values["settings"] = msgspec.convert(row.settings, Settings)
    values["about"] = About.read(row.about)
    return Repository(**values)


def _look(connection: Connection, kind: Kind, name: str) -> Row[Any] | None:
    return _row(connection, kind, name) or _moved(connection, kind, name)


def _row(connection: Connection, kind: Kind, name: str) -> Row[Any] | None:
    query = select(repositories).where(_is(kind), repositories.c.folded == fold(name))
    return connection.execute(query).first()


def _moved(connection: Connection, kind: Kind, name: str) -> Row[Any] | None:
    query = (
        select(repositories)
        .join(moves, moves.c.repository == repositories.c.id)
        .where(moves.c.kind == kind, moves.c.folded == fold(name), _present())
    )
    return connection.execute(query).first()


def _take_name(connection: Connection, kind: Kind, name: str) -> None:
    take_turns(connection, f"name {kind} {fold(name)}")


def _forget_move(connection: Connection, kind: Kind, name: str) -> None:
    connection.execute(delete(moves).where(moves.c.kind == kind, moves.c.folded == fold(name)))


def _change(connection: Connection, id: int, **values: Any) -> None:
    connection.execute(
        update(repositories).where(repositories.c.id == id).values(**values, changed_at=time.time())
    )


def _present() -> Any:
    return repositories.c.deleted_at.is_(None)


def _is(kind: Kind) -> Any:
    return repositories.c.kind == kind
