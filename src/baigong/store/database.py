"""The database: one SQLAlchemy engine, SQLite or PostgreSQL by URL, migrated when it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, OperationalError

from baigong.errors import InvalidInput, Unreachable, Unsupported
from baigong.store.room import room_for

HEAD = "0006"


class Database:
    """Opens, migrates, and hands out transactions. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            Unsupported: the driver of such databases is not installed.
            Unreachable: PostgreSQL does not answer.
        """
        self.url = url
        self.writes = 0  # transactions of this process, for who keeps in memory what is in here
        self.engine = _engine(url)
        self._reading: dict[str, Any] = {"reading": True}
        if self.engine.dialect.name == "sqlite":
            _prepare_sqlite(self.engine)
        else:
            _check_answers(self.engine)
            self._reading |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._migrate()

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        folder.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{folder / 'baigong.db'}")

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One write transaction: committed at the end, undone on an exception.

        Raises:
            StorageFull: the disk has no room for it.
            InvalidInput: PostgreSQL cannot hold a value.
        """
        with room_for("it in the database"), _refused(), self.engine.begin() as connection:
            yield connection
        self.writes += 1

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading, which never waits for a writer.

        Raises:
            InvalidInput: PostgreSQL cannot look for a value.
        """
        with _refused(), self.engine.connect().execution_options(**self._reading) as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        """Bring the schema to HEAD. Alembic is only loaded when there is something to do."""
        with self.read() as connection:
            if "alembic_version" in inspect(connection).get_table_names():
                found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
                if found == HEAD:
                    return
        from baigong.store.migrate import upgrade  # noqa: PLC0415  a quarter second, once

        upgrade(self.engine)


def hold_back_collection(connection: Connection) -> None:
    """Before looking which pages of manifests are there: they stay for this transaction.

    SQLite has one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE manifests IN ROW EXCLUSIVE MODE"))


def stop_writers(connection: Connection) -> None:
    """Whoever names a blob or a page waits for this transaction. Others read on."""
    if connection.dialect.name == "postgresql":
        names = "manifests, commits, awaited, refs, files, documents"  # in the order of commits
        connection.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose key is not there yet, also where another transaction does the same."""
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    key = [column.name for column in table.primary_key]
    # In one order, or two servers would wait in a ring.
    ordered = sorted(rows, key=lambda row: [row[name] for name in key])
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), ordered)


def _engine(url: str) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"The database cannot be opened: {error}.",
            hint="Run `pip install 'baigong[postgres]'`, and write postgresql+psycopg://...",
        ) from error


def _check_answers(engine: Engine) -> None:
    try:
        engine.connect().close()
    except OperationalError as error:
        raise Unreachable(
            f"The database does not answer: {str(error.orig).splitlines()[0]}",
            hint="Check BAIGONG_DATABASE_URL, and that the server runs.",
        ) from error


@contextmanager
def _refused() -> Iterator[None]:
    """Of a value that SQLite would take, or find nowhere, say what is wrong with it."""
    try:
        yield
    except DataError as error:
        raise InvalidInput(
            f"The database refuses a value: {str(error.orig).splitlines()[0]}.",
            hint="Leave out NUL characters, and shorten what is long.",
        ) from error


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _record: object) -> None:
        # The driver must not open transactions by itself: `begin` below says how.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "busy_timeout=15000",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a write can fail with "locked" despite the timeout.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
