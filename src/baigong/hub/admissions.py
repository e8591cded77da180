"""Gated repositories: everyone sees that they are there, whoever is admitted reads their files."""

from __future__ import annotations

import time
from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, insert, select, update

from baigong.errors import BaigongError, Conflict, NotFound
from baigong.hub.access import Actor
from baigong.hub.names import fold
from baigong.hub.repositories import Repository
from baigong.store.database import Database
from baigong.store.hub_tables import admissions, namespaces
from baigong.store.turns import take_turns

Status = Literal["pending", "accepted", "rejected"]


class Gated(BaigongError):
    """The caller may see the repository, and has not been admitted to its files."""

    status = 403
    code = "gated"


class Admission(msgspec.Struct, frozen=True):
    """What became of who asked; `at` in seconds since the epoch."""

    user: str
    status: Status
    reason: str
    at: float


class Admissions:
    """Who may read gated repositories. All methods block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, one: Repository, actor: Actor) -> None:
        """Whether the caller may read its files.

        Raises:
            Gated: not yet.
        """
        if one.settings.gated is None or actor.owns(one.owner):
            return
        if self.status(one, actor.user) != "accepted":
            raise Gated(
                f"Access to {one.kind} {one.name} is restricted and you are not in the"
                " authorized list.",
                hint="Ask for access first.",
            )

    def status(self, one: Repository, user: str) -> Status | None:
        """None where the user has not asked."""
        query = select(admissions.c.status).where(_of(one, user))
        with self._database.read() as connection:
            return connection.scalar(query)

    def all(self, one: Repository, status: Status) -> list[Admission]:
        """The earliest first."""
        query = (
            select(admissions, namespaces.c.name)
            .outerjoin(namespaces, namespaces.c.folded == admissions.c.user)
            .where(admissions.c.repository == one.id, admissions.c.status == status)
            .order_by(admissions.c.at)
        )
        with self._database.read() as connection:
            rows = connection.execute(query)
            return [Admission(row.name or row.user, row.status, row.reason, row.at) for row in rows]

    def ask(self, one: Repository, user: str) -> Status:
        """Ask for a user; who is admitted without a decision is admitted at once."""
        return self._add(one, user, "accepted" if one.settings.gated == "auto" else "pending")[0]

    def decide(self, one: Repository, user: str, status: Status, reason: str = "") -> None:
        """
        Raises:
            NotFound: the user has not asked.
            Conflict: that is how it is.
        """
        known = self.status(one, user)
        if known is None:
            raise NotFound(f"'{user[:100]}' has not asked for access to {one.name}.")
        if known == status:
            raise Conflict(f"The request of '{user[:100]}' is {status} already.")
        values = {"status": status, "reason": reason, "at": time.time()}
        with self._database.begin() as connection:
            connection.execute(update(admissions).where(_of(one, user)).values(values))

    def grant(self, one: Repository, user: str) -> None:
        """Admit a user who has not asked.

        Raises:
            Conflict: the user is known.
        """
        if not self._add(one, user, "accepted")[1]:
            raise Conflict(f"'{user[:100]}' has asked for access to {one.name} before.")

    def _add(self, one: Repository, user: str, status: Status) -> tuple[Status, bool]:
        """The status of a user, who has this one from now on if none; and whether it is new."""
        row = {"repository": one.id, "user": fold(user), "status": status, "reason": ""}
        with self._database.begin() as connection:
            take_turns(connection, f"admissions {one.id}")
            known = connection.scalar(select(admissions.c.status).where(_of(one, user)))
            if known is None:
                connection.execute(insert(admissions).values(**row, at=time.time()))
        return known or status, known is None


def _of(one: Repository, user: str) -> ColumnElement[bool]:
    return (admissions.c.repository == one.id) & (admissions.c.user == fold(user))
