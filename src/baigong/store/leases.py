"""Leases: who works on a resource right now. A holder that is killed never blocks the next one."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psutil
from sqlalchemy import Connection, delete, select, update

from baigong.errors import Conflict
from baigong.store.database import Database
from baigong.store.tables import leases

SECONDS = 30.0
_LOOK_EVERY_S = 0.02


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
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(seconds / 3):
            with database.begin() as connection:
                connection.execute(
                    update(leases)
                    .where(leases.c.resource == resource, leases.c.owner == owner)
                    .values(until=time.time() + seconds)
                )

    thread = threading.Thread(target=renew, name=f"lease-{resource}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with database.begin() as connection:
            connection.execute(
                delete(leases).where(leases.c.resource == resource, leases.c.owner == owner)
            )


def held(database: Database, resources: Collection[str]) -> set[str]:
    """Those of the resources that a living process holds now."""
    with database.read() as connection:
        return {each for each in resources if _living_holder(connection, each) is not None}


def abandoned(database: Database, prefix: str) -> list[str]:
    """Resources of a common prefix whose holder was killed while it held them."""
    with database.read() as connection:
        query = select(leases.c.resource).where(leases.c.resource.startswith(prefix))
        found = connection.execute(query).scalars().all()
        return [each for each in found if _living_holder(connection, each) is None]


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
        holder = _living_holder(connection, resource)
        if holder is None:
            connection.execute(delete(leases).where(leases.c.resource == resource))
            connection.execute(
                leases.insert().values(resource=resource, owner=owner, until=time.time() + seconds)
            )
        return holder


def _living_holder(connection: Connection, resource: str) -> str | None:
    row = connection.execute(select(leases).where(leases.c.resource == resource)).first()
    if row is None or row.until < time.time() or _is_dead_here(row.owner):
        return None
    return str(row.owner)


def _me() -> str:
    process = psutil.Process()
    # The thread's id lets one process notice that it is asked twice.
    return (
        f"{socket.gethostname()}:{os.getpid()}:{process.create_time():.2f}:{threading.get_ident()}"
    )


def _is_dead_here(owner: str) -> bool:
    """Whether the owner was a process of this machine that no longer runs. Its pid may be reused."""
    host, pid, started, _ = owner.split(":")
    if host != socket.gethostname():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
