"""Other names that models are called by, e.g. `ft:sapling:baigong:desk:1f3a9c02`.

A name stands for one numbered release, or for an adapter on the base that it was made for. It has a
colon, which no name of a release, a recipe or a repository has: so none hides another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from baigong.errors import NotFound
from baigong.store.database import Database
from baigong.store.tables import aliases
from baigong.store.turns import take_turns


@dataclass(frozen=True, slots=True)
class Alias:
    """A row of its table: `release` is `name@number`, `adapter` a ref in the hub; one is None."""

    name: str
    release: str | None
    adapter: str | None
    created_at: float


class Aliases:
    """The names of one database. All methods block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, *, release: str | None = None, adapter: str | None = None) -> None:
        """Have a name stand for a release or an adapter; the same again changes nothing."""
        if ":" not in name or (release is None) == (adapter is None):
            raise ValueError(f"{name}: {release}, {adapter}")
        with self._database.begin() as connection:
            take_turns(connection, f"alias {name}")
            made_at = connection.scalar(select(aliases.c.created_at).where(aliases.c.name == name))
            connection.execute(delete(aliases).where(aliases.c.name == name))
            connection.execute(
                insert(aliases).values(
                    name=name, release=release, adapter=adapter, created_at=made_at or time.time()
                )
            )

    def find(self, name: str) -> Alias | None:
        """What a name stands for, if it is one of these."""
        if ":" not in name:
            return None
        return next(iter(self._all(aliases.c.name == name)), None)

    def releases(self) -> list[Alias]:
        """Those that stand for a release, newest first."""
        return self._all(aliases.c.release.is_not(None))

    def below(self, name: str) -> list[Alias]:
        """Those that begin with `name` and a colon, newest first."""
        return self._all(aliases.c.name.startswith(f"{name}:", autoescape=True))

    def delete(self, name: str) -> None:
        """Forget a name, and those below it.

        Raises:
            NotFound: there is none.
        """
        with self._database.begin() as connection:
            if not connection.execute(delete(aliases).where(aliases.c.name == name)).rowcount:
                raise NotFound(f"There is no name '{name[:120]}'.", param="model")
            below = aliases.c.name.startswith(f"{name}:", autoescape=True)
            connection.execute(delete(aliases).where(below))

    def _all(self, which: object) -> list[Alias]:
        query = select(aliases).where(which).order_by(aliases.c.created_at.desc(), aliases.c.name)  # type: ignore[arg-type]
        with self._database.read() as connection:
            return [
                Alias(row.name, row.release, row.adapter, row.created_at)
                for row in connection.execute(query)
            ]
