"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from baigong.store.blobs import Blobs
from baigong.store.database import Database
from tests import postgres
from tests.buckets import KEYS, create, serving


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the home of whoever runs it."""
    monkeypatch.setenv("BAIGONG_HOME", str(tmp_path / "home"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where a file says so, whatever needs a database runs on either kind."""
    for name in {"database", "empty"}.intersection(metafunc.fixturenames):
        if metafunc.definition.get_closest_marker("postgres"):
            metafunc.parametrize(name, ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if getattr(request, "param", "sqlite") == "sqlite":
        yield Database.in_folder(tmp_path / "db")
        return
    with postgres.fresh(request.getfixturevalue("postgres_server")) as url:
        database = Database(url)
        yield database
        database.close()


@pytest.fixture
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with postgres.fresh(request.getfixturevalue("postgres_server"), "template0") as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """PostgreSQL, where it is installed; new databases have the tables, but for "template0"."""
    with postgres.running() as url:
        Database(url.set(database="template1").render_as_string()).close()
        yield url


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "blobs"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server that speaks S3's protocol."""
    with serving() as address:
        yield address


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, which the environment says how to reach."""
    for name, value in {"AWS_ENDPOINT_URL": s3_server, **KEYS}.items():
        monkeypatch.setenv(name, value)
    return create(s3_server)
