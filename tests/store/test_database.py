import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select

from baigong.errors import InvalidInput, Unreachable, Unsupported
from baigong.store import hub_tables  # noqa: F401  they belong to the same metadata
from baigong.store.database import Database
from baigong.store.tables import live, metadata
from tests import postgres

pytestmark = pytest.mark.postgres


def test_migrations_make_exactly_the_tables_of_the_code(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_opening_an_existing_database_keeps_its_rows(database):
    with database.begin() as connection:
        connection.execute(insert(live).values(name="a", number=1))
    again = Database(database.url)
    with again.read() as connection:
        assert connection.scalar(select(live.c.number)) == 1
    again.close()


def test_a_failed_transaction_leaves_nothing(database):
    class Boom(Exception):
        pass

    try:
        with database.begin() as connection:
            connection.execute(insert(live).values(name="a", number=1))
            raise Boom
    except Boom:
        pass
    with database.read() as connection:
        assert connection.execute(select(live)).all() == []


def test_many_threads_write_without_a_locked_error(database):
    def work(start: int) -> None:
        for i in range(20):
            with database.begin() as connection:
                connection.execute(insert(live).values(name=f"{start}-{i}", number=i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert len(connection.execute(select(live)).all()) == 80


def test_what_is_read_does_not_change_while_it_is_read(database):
    with database.read() as connection:
        assert connection.execute(select(live)).all() == []
        with database.begin() as other:
            other.execute(insert(live).values(name="a", number=1))
        assert connection.execute(select(live)).all() == []


def test_two_processes_opening_a_new_database_at_once_both_find_the_schema(empty):
    found: list[Database] = []
    threads = [threading.Thread(target=lambda: found.append(Database(empty))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for each in found:
        each.close()


@pytest.mark.parametrize("name", ["a\0b", "a" * 101])
def test_a_value_that_postgres_cannot_hold_is_the_callers_mistake(postgres_server, name):
    with postgres.fresh(postgres_server) as url:
        database = Database(url)
        with pytest.raises(InvalidInput, match="refuses a value"), database.begin() as connection:
            connection.execute(insert(live).values(name=name, number=1))
        database.close()


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("postgresql+psycopg://nobody@127.0.0.1:1/none", Unreachable, "does not answer"),
        ("mysql+pymysql://nobody@127.0.0.1/none", Unsupported, "pymysql"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence(url, error, words):
    with pytest.raises(error, match=words):
        Database(url)
