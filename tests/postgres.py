"""A PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, NullPool, create_engine, text

# What is in it is gone with it, so that nothing need reach the disk.
_FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses="
_DEBIAN = "/usr/lib/postgresql"  # VERSION/bin below it
_USER = "postgres"  # Debian's package makes it; the server refuses to run as root


@contextmanager
def running() -> Iterator[URL]:
    """A server that listens on a socket in a folder of its own; the URL of its first database."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    # Paths of sockets are short, and root's other temporary folders are closed to the server.
    home = Path(tempfile.mkdtemp(prefix="baigong-pg-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(home, _USER)
    data, log = home / "data", home / "log"
    try:
        _run(programs / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "-N")
        _run(programs / "pg_ctl", "-D", data, "-l", log, "-o", f"{_FAST} -k {home}", "-w", "start")
        try:
            yield URL.create("postgresql+psycopg", _USER, query={"host": str(home)}, database=_USER)
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home)


@contextmanager
def fresh(server: URL, template: str = "template1") -> Iterator[str]:
    """The URL of a copy of a database, which is dropped afterwards."""
    name = f"t{uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _programs() -> Path | None:
    """The folder of the newest server; Debian keeps them apart from other programs."""
    found = {int(path.parts[-3]): path for path in Path(_DEBIAN).glob("[0-9]*/bin/initdb")}
    program = found[max(found)] if found else shutil.which("initdb")
    return None if program is None else Path(program).parent


def _run(*command: object) -> None:
    rights = {"user": _USER, "group": _USER, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd="/", **rights
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
