"""Who may read and write what: users, organisations, and operators, who may do everything."""

from __future__ import annotations

import time
from contextvars import ContextVar

import msgspec
from sqlalchemy import delete, insert, select

from baigong.errors import BaigongError, Conflict, NotFound
from baigong.hub.names import check_namespace, fold
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import members, namespaces
from baigong.store.turns import take_turns

OPERATOR = "local"  # the namespace of whoever has no user
# What addresses, and the platform's own repositories, begin with.
_RESERVED = frozenset({OPERATOR, "baigong", "api", "models", "datasets", "spaces", "lfs", "xet"})


class NotYours(BaigongError):
    """The caller may see it and not change it, or make nothing there."""

    status = 403
    code = "forbidden"


class Actor(msgspec.Struct, frozen=True):
    """Who calls the hub. An operator (a key of no user, or a server without keys) may do all, a
    visitor (without key or name) look at what is public."""

    user: str
    organisations: tuple[str, ...] = ()
    is_operator: bool = False

    @property
    def is_visitor(self) -> bool:
        return not self.user

    @property
    def owner(self) -> str | None:
        """Whose the caller's uploads, vector stores and jobs are; None is an operator, who sees all."""
        return None if self.is_operator else fold(self.user)

    def owns(self, namespace: str) -> bool:
        """Whether repositories of a user or an organisation are the caller's."""
        mine = map(fold, (self.user, *self.organisations))
        return self.is_operator or fold(namespace) in mine

    def check_owns(self, namespace: str) -> None:
        """
        Raises:
            NotYours: it is somebody else's.
        """
        if not self.owns(namespace):
            raise NotYours(
                f"You don't have the rights to write to '{namespace[:100]}'.",
                hint=f"Use your own namespace, '{self.user}', or ask to become a member.",
            )

    def check_operates(self) -> None:
        """
        Raises:
            NotYours: the caller is a user, and it is the installation's.
        """
        if not self.is_operator:
            raise NotYours(
                f"The key is of the user '{self.user}', and this is for operators.",
                hint="`baigong keys create NAME` makes an operator's key.",
            )


PLATFORM = Actor(OPERATOR, is_operator=True)
# Whose request is being answered. What runs in the background is the platform's own.
acting: ContextVar[Actor] = ContextVar("acting", default=PLATFORM)


class Namespaces:
    """Users and organisations. All methods block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure_user(self, name: str) -> None:
        """
        Raises:
            InvalidInput: a user may not be called so.
            Conflict: it is an organisation, or a name of the platform.
        """
        self._ensure(name, "user")

    def create_organisation(self, name: str) -> None:
        """
        Raises:
            InvalidInput: an organisation may not be called so.
            Conflict: there is a user or an organisation of this name, or it is the platform's.
        """
        self._ensure(name, "organisation", is_new=True)

    def join(self, organisation: str, user: str) -> None:
        """
        Raises:
            NotFound: there is no such organisation, or no such user.
        """
        row = {"organisation": fold(organisation), "user": fold(user)}
        self._check(organisation, "organisation")
        self._check(user, "user")
        with self._database.begin() as connection:
            insert_missing(connection, members, [row])

    def leave(self, organisation: str, user: str) -> None:
        one = (members.c.organisation == fold(organisation)) & (members.c.user == fold(user))
        with self._database.begin() as connection:
            connection.execute(delete(members).where(one))

    def organisations_of(self, user: str) -> tuple[str, ...]:
        query = (
            select(namespaces.c.name)
            .join(members, members.c.organisation == namespaces.c.folded)
            .where(members.c.user == fold(user))
            .order_by(namespaces.c.name)
        )
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def all(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(name, user | organisation, members) of each, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(namespaces).order_by(namespaces.c.folded)).all()
            joined = connection.execute(
                select(members.c.organisation, namespaces.c.name).join(
                    namespaces, namespaces.c.folded == members.c.user
                )
            ).all()
        within = {row.folded: [n for o, n in joined if o == row.folded] for row in rows}
        return [(row.name, row.kind, tuple(sorted(within[row.folded]))) for row in rows]

    def actor(self, user: str | None) -> Actor:
        """Who holds a key of this user; None is an operator."""
        if user is None:
            return PLATFORM
        return Actor(user, self.organisations_of(user))

    def _ensure(self, name: str, kind: str, *, is_new: bool = False) -> None:
        check_namespace(name)
        if fold(name) in _RESERVED:
            raise Conflict(f"The name '{name}' is the platform's own.", hint="Use another name.")
        query = select(namespaces.c.kind).where(namespaces.c.folded == fold(name))
        with self._database.begin() as connection:
            take_turns(connection, f"namespace {fold(name)}")
            found = connection.scalar(query)
            if found is None:
                row = {"folded": fold(name), "name": name, "kind": kind, "created_at": time.time()}
                connection.execute(insert(namespaces).values(row))
            elif is_new or found != kind:
                raise Conflict(f"There is a {found} '{name}' already.", hint="Use another name.")

    def _check(self, name: str, kind: str) -> None:
        with self._database.read() as connection:
            known = select(namespaces.c.name).where(namespaces.c.kind == kind)
            names = list(connection.execute(known).scalars())
        if fold(name) not in map(fold, names):
            raise NotFound.among(kind, name, names)
