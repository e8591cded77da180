"""Lists of repositories and searches among them, answered from memory."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import msgspec
from sqlalchemy import JSON, Row, Text, cast, select

from baigong.hub.about import About
from baigong.hub.access import Actor
from baigong.hub.repositories import Repository, Settings
from baigong.hub.search.shelf import Query, Shelf
from baigong.store.database import Database
from baigong.store.hub_tables import repositories

__all__ = ["Listing", "Query"]

FRESH_S = 0.3  # how long what another process has written may be missed
# Longer than a transaction may go on after it has noted its time, in which others are committed.
# SQLite's writers take turns, so that there only clocks may differ a little.
_OVERLAP_S = 20.0
_OVERLAP_SQLITE_S = 1.0
_IDLE_S = 600.0  # after so long without a look, rows may be gone whose end was not seen
_AT_ONCE = 500  # rows that are read together


class Listing:
    """The repositories of an installation, brought up to date before each answer.

    What this process has written is in the next answer; what others have, within `FRESH_S`. Rows
    that changed are read by their index, so that an answer rarely waits for more than a query. Cards
    of more than a few kilobytes are left out of the rows of a page (`about.card` is empty there).
    Safe to share between threads.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shelf = Shelf()
        is_sqlite = database.engine.dialect.name == "sqlite"
        self._overlap_s = _OVERLAP_SQLITE_S if is_sqlite else _OVERLAP_S
        self._read_at = 0.0  # by the clock that rows are stamped with
        self._looked_at = float("-inf")
        self._seen_writes = -1
        self._looking = threading.Lock()  # held while the database is read
        self._using = threading.Lock()  # held while the shelf is used or changed

    def warm(self) -> None:
        """Read what there is, so that the first answer need not wait for it. Blocks."""
        self._look()

    def page(self, query: Query, actor: Actor) -> tuple[list[Repository], int]:
        """The rows of the page, and how many there are in all. Blocks."""
        self._look()
        with self._using:
            return self._shelf.page(query, actor)

    async def ask(self, query: Query, actor: Actor) -> tuple[list[Repository], int]:
        """The same for the event loop: a thread is taken only where the database must be asked."""
        if not self._is_fresh():
            await asyncio.to_thread(self._look)
        with self._using:
            return self._shelf.page(query, actor)

    def _is_fresh(self) -> bool:
        is_recent = time.monotonic() - self._looked_at < FRESH_S
        return is_recent and self._seen_writes == self._database.writes

    def _look(self) -> None:
        with self._looking:
            if self._is_fresh():
                return
            writes, now = self._database.writes, time.monotonic()
            if now - self._looked_at > _IDLE_S:
                self._forget()
            # A clock that was set back must not hide what is written from then on.
            clock = time.time()
            self._read(self._shelf, min(self._read_at, clock) - self._overlap_s)
            if self._shelf.is_wasteful:
                fresh = Shelf()
                self._read(fresh, 0.0)
                self._shelf = fresh
            self._read_at, self._looked_at, self._seen_writes = clock, now, writes

    def _read(self, shelf: Shelf, since: float) -> None:
        """Put what has changed since then onto a shelf."""
        table = repositories.c
        query = select(table.id, table.changed_at).where(table.changed_at >= since)
        with self._database.read() as connection:
            changed = connection.execute(query)
            ids = [id for id, changed_at in changed if shelf.changed_at(id) != changed_at]
        for start in range(0, len(ids), _AT_ONCE):
            some = select(*_COLUMNS).where(table.id.in_(ids[start : start + _AT_ONCE]))
            with self._database.read() as connection:
                rows = list(connection.execute(some))
            found = [(_repository(row), row.changed_at, row.deleted_at is not None) for row in rows]
            with self._using:
                for one, changed_at, is_gone in found:
                    shelf.put(one, changed_at, is_hidden=is_gone)

    def _forget(self) -> None:
        """Let go of rows that were deleted and collected since the last look."""
        with self._database.read() as connection:
            there = set(connection.execute(select(repositories.c.id)).scalars())
        with self._using:
            for id in self._shelf.ids - there:
                self._shelf.forget(id)


def _repository(row: Row[Any]) -> Repository:
    values = {name: getattr(row, name) for name in Repository.__struct_fields__}
    values["settings"], values["about"] = _settings(row.settings), _about(row.about)
    return Repository(**values)


# As text, whose way to a struct is shorter than that through Python's own objects.
_COLUMNS = [
    cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column
    for column in repositories.c
]
_settings = msgspec.json.Decoder(Settings).decode
_about = msgspec.json.Decoder(About).decode
