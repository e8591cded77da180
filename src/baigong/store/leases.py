"""Leases: who works on a resource right now. A holder that is killed never blocks the next one.

`lease` holds a resource, `place` stands in line for one.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from sqlalchemy import Connection, Row, delete, select, update

from baigong.errors import Conflict
from baigong.store.database import Database
from baigong.store.tables import leases
from baigong.store.turns import take_turns

SECONDS = 30.0
_LOOK_EVERY_S = 0.02
_LABEL = 80  # characters


@contextmanager
def lease(
    database: Database, resource: str, *, seconds: float = SECONDS, wait_s: float = 0.0
) -> Iterator[None]:
    """Hold `resource` for the length of the block, renewing it from a thread.

    Raises:
        Conflict: a living process held it for all of `wait_s`.
    """
    owner = _me()
    _claim(database, resource, owner, seconds, wait_s)
    with _renewed(database, resource, owner, seconds):
        yield


@contextmanager
def place(
    database: Database, queue: str, label: str, *, seconds: float = SECONDS
) -> Iterator[Callable[[], list[str]]]:
    """Stand in line for the length of the block. Whoever stands first has what the line is for.

    Gives what tells the labels of the living who stand before, the first one first.
    """
    owner = f"{_me()} {label[:_LABEL]}"
    mine = _enter(database, queue, owner, seconds)

    def before() -> list[str]:
        earlier = _in_line(queue).where(leases.c.resource < mine).order_by(leases.c.resource)
        with database.read() as connection:
            rows = connection.execute(earlier).all()
        return [row.owner.partition(" ")[2] for row in rows if _is_living(row)]

    with _renewed(database, mine, owner, seconds):
        yield before


def held_among(connection: Connection, resources: Collection[str]) -> set[str]:
    """Those of the resources that somebody living holds."""
    if not resources:
        return set()
    rows = connection.execute(select(leases).where(leases.c.resource.in_(resources)))
    return {row.resource for row in rows if _is_living(row)}


@contextmanager
def _renewed(database: Database, resource: str, owner: str, seconds: float) -> Iterator[None]:
    """A row that is renewed from a thread, and gone afterwards."""
    stop = threading.Event()
    mine = (leases.c.resource == resource) & (leases.c.owner == owner)

    def renew() -> None:
        while not stop.wait(seconds / 3):
            with database.begin() as connection:
                connection.execute(update(leases).where(mine).values(until=time.time() + seconds))

    thread = threading.Thread(target=renew, name=f"lease-{resource}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with database.begin() as connection:
            connection.execute(delete(leases).where(mine))


def _enter(database: Database, queue: str, owner: str, seconds: float) -> str:
    """A row behind all others in the line."""
    with database.begin() as connection:
        take_turns(connection, f"line {queue}")
        mine = f"{queue}#{_last(connection, queue) + 1:012d}"
        until = time.time() + seconds
        connection.execute(leases.insert().values(resource=mine, owner=owner, until=until))
    return mine


def _last(connection: Connection, queue: str) -> int:
    """The number of the last one in the line; the dead leave it."""
    last = 0
    for row in connection.execute(_in_line(queue).with_for_update()).all():
        if _is_living(row):
            last = max(last, int(row.resource.rpartition("#")[2]))
        else:
            connection.execute(delete(leases).where(leases.c.resource == row.resource))
    return last


def _in_line(queue: str) -> Any:
    return select(leases).where(leases.c.resource.startswith(f"{queue}#", autoescape=True))


def abandoned(database: Database, prefix: str) -> list[str]:
    """Resources of a common prefix whose holder was killed while it held them."""
    with database.read() as connection:
        rows = connection.execute(select(leases).where(leases.c.resource.startswith(prefix)))
        return [row.resource for row in rows if not _is_living(row)]


def _claim(
    database: Database, resource: str, owner: str, seconds: float, wait_s: float = 0.0
) -> None:
    until = time.monotonic() + wait_s
    while (holder := _claimed(database, resource, owner, seconds)) is not None:
        if time.monotonic() >= until:
            raise Conflict(
                f"'{resource}' is held by process {holder.split(':')[1]} on {holder.split(':')[0]}.",
                hint="Wait for it to finish (`baigong jobs` shows how far it is), or stop it.",
            )
        time.sleep(_LOOK_EVERY_S)


def _claimed(database: Database, resource: str, owner: str, seconds: float) -> str | None:
    """None where it is ours now, else who holds it."""
    with database.begin() as connection:
        take_turns(connection, f"lease {resource}")
        holder = _living_holder(connection, resource)
        if holder is None:
            connection.execute(delete(leases).where(leases.c.resource == resource))
            connection.execute(
                leases.insert().values(resource=resource, owner=owner, until=time.time() + seconds)
            )
        return holder


def _living_holder(connection: Connection, resource: str) -> str | None:
    one = select(leases).where(leases.c.resource == resource)
    row = connection.execute(one.with_for_update()).first()  # it may just be renewed
    return None if row is None or not _is_living(row) else str(row.owner)


def _is_living(row: Row[Any]) -> bool:
    return row.until >= time.time() and not _is_dead_here(row.owner)


def _me() -> str:
    process = psutil.Process()
    # The thread's id lets one process notice that it is asked twice.
    return (
        f"{socket.gethostname()}:{os.getpid()}:{process.create_time():.2f}:{threading.get_ident()}"
    )


def _is_dead_here(owner: str) -> bool:
    """Whether the owner was a process of this machine that no longer runs. Its pid may be reused."""
    host, pid, started, _ = owner.split(":", 3)
    if host != socket.gethostname():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
