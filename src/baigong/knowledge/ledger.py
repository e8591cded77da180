"""What was written to a store becomes the next version; what a kill left half done is put in order.

New documents are rows without a birth until their chunks are in the store. So after a kill their
chunks tell how far it came: with all of them there the version is finished, else they are undone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from baigong.knowledge.records import Base, live_ids, parts_of
from baigong.knowledge.stores.port import Chunks
from baigong.store.database import Database
from baigong.store.tables import (
    documents,
    knowledge_bases,
    knowledge_leaving,
    knowledge_pins,
)


def settle(
    database: Database,
    base: Base,
    born: Mapping[int, int | None],
    gone: Sequence[int],
    *,
    later: bool = False,
) -> int:
    """Make what is in the store the next version: `born` maps new documents to replaced ones.

    With `later` the chunks of those that leave are in the store yet; searches are told to pass
    them over until `take_out`. Returns the number of the version, which stays where nothing changed.
    """
    leaving = [*gone, *(old for old in born.values() if old is not None)]
    if not born and not leaving:
        return base.head
    with database.begin() as connection:
        number = _next(connection, base.name)
        for ids, values in ((leaving, {"died": number}), (list(born), {"born": number})):
            for part in parts_of(ids):
                connection.execute(update(documents).where(documents.c.id.in_(part)).values(values))
        if later and leaving:
            rows = [{"knowledge": base.name, "document": number} for number in leaving]
            connection.execute(insert(knowledge_leaving), rows)
        _forget_unseen(connection, base.name)
    return number


def leaving_of(connection: Connection, name: str) -> tuple[int, ...]:
    """Documents that are gone, and whose chunks are in the store yet."""
    query = select(knowledge_leaving.c.document).where(knowledge_leaving.c.knowledge == name)
    return tuple(connection.execute(query).scalars())


def take_out(database: Database, base: Base, chunks: Chunks) -> None:
    """Have the store follow what is gone. Only for whoever may write."""
    with database.read() as connection:
        leaving = leaving_of(connection, base.name)
    if not leaving:
        return
    chunks.replace(leaving, [])
    with database.begin() as connection:
        for part in parts_of(leaving):
            connection.execute(
                delete(knowledge_leaving).where(
                    knowledge_leaving.c.knowledge == base.name,
                    knowledge_leaving.c.document.in_(part),
                )
            )


def recover(database: Database, base: Base, chunks: Chunks) -> None:
    """Finish or undo what a killed writer began. Only for whoever may write."""
    with database.read() as connection:
        pending = connection.execute(
            select(documents.c.id, documents.c.path, documents.c.chunks).where(
                documents.c.knowledge == base.name, documents.c.born.is_(None)
            )
        ).all()
        if not pending:
            return
        replaced = live_ids(connection, base.name, [row.path for row in pending])
    counts = chunks.counts([row.id for row in pending])
    whole = {row.id: replaced.get(row.path) for row in pending if counts.get(row.id) == row.chunks}
    broken = [row.id for row in pending if row.id not in whole]
    chunks.replace([*broken, *(old for old in whole.values() if old is not None)], [])
    with database.begin() as connection:
        connection.execute(delete(documents).where(documents.c.id.in_(broken)))
    settle(database, base, whole, [])


def _next(connection: Connection, name: str) -> int:
    connection.execute(
        update(knowledge_bases)
        .where(knowledge_bases.c.name == name)
        .values(head=knowledge_bases.c.head + 1, changed_at=time.time())
    )
    head = select(knowledge_bases.c.head).where(knowledge_bases.c.name == name)
    return int(connection.execute(head).scalar_one())


def _forget_unseen(connection: Connection, name: str) -> None:
    """Rows of documents that died before anything kept was made are of no use to anyone."""
    newest = select(func.max(knowledge_pins.c.number)).where(knowledge_pins.c.knowledge == name)
    kept = connection.execute(newest).scalar()
    connection.execute(
        delete(documents).where(
            documents.c.knowledge == name,
            documents.c.died.is_not(None),
            documents.c.born > (kept or 0),
        )
    )
