"""Fine-tuning jobs and their events, as rows beside the builds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import Row, and_, insert, null, select, update

from baigong.errors import NotFound
from baigong.store.database import Database, insert_missing
from baigong.store.owning import owned
from baigong.store.paging import Cut, cut
from baigong.store.tables import fine_tuning_events as events
from baigong.store.tables import fine_tunings

Level = Literal["info", "warn", "error"]


class FineTuning(msgspec.Struct, frozen=True):
    """A row of its table; `asked` is the `wire.Asked` that it was made from, as JSON."""

    id: str
    owner: str | None
    job: str | None
    name: str
    called: str
    asked: dict[str, Any]
    metadata: dict[str, str] | None
    status: str
    error: dict[str, str | None] | None
    results: list[str]
    tokens: int | None
    created_at: float
    finished_at: float | None

    @property
    def short(self) -> str:
        return self.id.removeprefix("ftjob-")


class Event(msgspec.Struct, frozen=True):
    id: str
    fine_tuning: str
    created_at: float
    level: Level
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] | None = None


def event(row: FineTuning, message: str, level: Level = "info") -> Event:
    """Something that happened just now."""
    return Event(f"ftevent-{secrets.token_hex(12)}", row.id, time.time(), level, message)


class FineTunings:
    """The rows, or those of one owner. All methods block."""

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self._database = database
        self._seen = owned(fine_tunings.c.owner, owner)

    def of(self, owner: str | None) -> FineTunings:
        """Those that an owner sees; None sees all."""
        return FineTunings(self._database, owner)

    def add(self, made: FineTuning, told: Iterable[Event]) -> None:
        with self._database.begin() as connection:
            connection.execute(insert(fine_tunings).values(msgspec.structs.asdict(made)))
        self.tell(told)

    def get(self, id: str) -> FineTuning:
        """
        Raises:
            NotFound: there is none, or it is another's.
        """
        query = select(fine_tunings).where(fine_tunings.c.id == id, self._seen)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"There is no fine-tuning job '{id[:80]}'.", param="fine_tuning_job_id")
        return _fine_tuning(row)

    def has_called(self, name: str) -> bool:
        """Whether one of them has made the model of this name."""
        query = select(fine_tunings.c.id).where(fine_tunings.c.called == name, self._seen)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def page(self, at: Cut, metadata: Mapping[str, str] | None) -> tuple[list[FineTuning], bool]:
        """Some of them, and whether there are more.

        Args:
            at: which page.
            metadata: what theirs must hold; an empty one holds of all. None is for those without.
        """
        column = fine_tunings.c.metadata
        query = select(fine_tunings).where(self._seen)
        if metadata is None:
            query = query.where(column.is_(null()))
        wanted = [column[name].as_string() == value for name, value in (metadata or {}).items()]
        query = query.where(and_(True, *wanted))
        with self._database.read() as connection:
            rows, more = cut(connection, query, fine_tunings.c.created_at, fine_tunings.c.id, at)
        return [_fine_tuning(row) for row in rows], more

    def unfinished(self) -> list[FineTuning]:
        """Those that something may still happen to, oldest first."""
        query = select(fine_tunings).where(fine_tunings.c.finished_at.is_(None), self._seen)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(fine_tunings.c.created_at)).all()
        return [_fine_tuning(row) for row in rows]

    def change(self, id: str, told: Iterable[Event] = (), **values: Any) -> None:
        """New values for a row, and what is said of them, together."""
        with self._database.begin() as connection:
            connection.execute(update(fine_tunings).where(fine_tunings.c.id == id).values(**values))
            for one in told:
                connection.execute(insert(events).values(msgspec.structs.asdict(one)))

    def tell(self, told: Iterable[Event]) -> None:
        """Add events, of which some may be there already."""
        with self._database.begin() as connection:
            insert_missing(connection, events, [msgspec.structs.asdict(one) for one in told])

    def events(self, row: FineTuning, at: Cut) -> tuple[list[Event], bool]:
        query = select(events).where(events.c.fine_tuning == row.id)
        with self._database.read() as connection:
            rows, more = cut(connection, query, events.c.created_at, events.c.id, at)
        return [Event(*(getattr(r, name) for name in Event.__struct_fields__)) for r in rows], more


def _fine_tuning(row: Row[Any]) -> FineTuning:
    return FineTuning(*(getattr(row, name) for name in FineTuning.__struct_fields__))
