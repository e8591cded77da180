"""Whose large files are in the store, and which of them wait for a commit."""

from __future__ import annotations

import time

from sqlalchemy import delete, select

from baigong.hub.names import fold
from baigong.store.blobs import Blobs
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import awaited, holdings


class Holdings:
    """What each namespace has sent. All methods block."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def add(self, namespace: str, digest: str) -> None:
        """It has sent these bytes, or was told that they are here: what collects garbage waits for
        the commit that names them."""
        with self._database.begin() as connection:
            insert_missing(connection, holdings, [{"namespace": fold(namespace), "digest": digest}])
            connection.execute(delete(awaited).where(awaited.c.digest == digest))
            insert_missing(connection, awaited, [{"digest": digest, "at": time.time()}])

    def promises(self, namespace: str, digest: str) -> bool:
        """Whether it has sent these bytes, and they stay here for a commit to come."""
        if not self.has(digest, namespace):
            return False
        self.add(namespace, digest)
        return self._blobs.has(digest)  # unless they were collected before that

    def has(self, digest: str, *namespaces: str) -> bool:
        """Whether one of them has sent these bytes, and they are in the store."""
        return self.size(digest, *namespaces) is not None

    def size(self, digest: str, *namespaces: str) -> int | None:
        """How many bytes they are; None where none of them has sent them, or they are not here."""
        folded = [fold(namespace) for namespace in namespaces]
        query = select(holdings.c.digest).where(
            holdings.c.digest == digest, holdings.c.namespace.in_(folded)
        )
        with self._database.read() as connection:
            is_known = connection.execute(query).first() is not None
        return self._blobs.size(digest) if is_known else None
