"""Which xorbs of a namespace are here, and where the chunks of each lie."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update

from baigong.errors import InvalidInput
from baigong.hub.xet.place import Place, Range, Span, pack, unpack
from baigong.hub.xet.runs import Run
from baigong.store.blobs import Blobs
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import holdings, xorb_losses, xorb_spans, xorbs
from baigong.store.turns import take_turns

_BATCH = 500


class LostXorb(InvalidInput):
    """A shard names chunks that are not here, or no more: a client must not think they are."""

    code = "xorb_missing"

    @classmethod
    def of(cls, hash: str) -> LostXorb:
        return cls(
            f"The xorb {hash} is not here.",
            hint="Run the same upload again: everything is sent anew then.",
            param="shard",
        )


class Ledger:
    """The tables of xorbs. Namespaces are folded here. All methods block."""

    def __init__(self, database: Database, blobs: Blobs, aside: Blobs) -> None:
        self._database = database
        self._blobs = blobs
        self._aside = aside

    def place(self, namespace: str, hash: str) -> Place:
        """
        Raises:
            LostXorb: it is not here.
        """
        mine = (xorb_spans.c.namespace == namespace) & (xorb_spans.c.hash == hash)
        query = select(xorb_spans).where(mine).order_by(xorb_spans.c.first)
        with self._database.read() as connection:
            row = connection.execute(select(xorbs).where(_one(namespace, hash))).first()
            spans = connection.execute(query).all()
        if row is None:
            raise LostXorb.of(hash)
        store = self._aside if row.waiting else self._blobs
        return Place(
            unpack(row.sizes),
            [Span(span.first, store, span.digest, span.start) for span in spans],
            aside=spans[0].digest if row.waiting else "",
        )

    def keep(self, namespace: str, hash: str, sizes: Sequence[int], run: Run) -> bool:
        """Note a xorb that a run ends with; whether it was not here before."""
        row = {"sizes": pack(sizes), "waiting": True, "at": time.time()}
        key = {"namespace": namespace, "hash": hash}
        with self._database.begin() as connection:
            known = select(xorbs.c.hash).where(_one(namespace, hash))
            is_new = connection.execute(known).first() is None
            insert_missing(connection, xorbs, [{**key, **row}])
            connection.execute(update(xorbs).where(_one(namespace, hash)).values(row))
            _span(connection, namespace, hash, [Range(0, run.name, run.size)])
            if not self._aside.is_local:
                self._aside.adopt(run.path, run.name)
            run.keep()
        return is_new

    def fold(self, namespace: str, hash: str, ranges: Sequence[Range], aside: str) -> bool:
        """Note that a xorb, which lies aside, is in files now; whether nothing else lies there."""
        with self._database.begin() as connection:
            take_turns(connection, f"aside {aside}")
            folded = update(xorbs).where(_one(namespace, hash)).values(waiting=False)
            connection.execute(folded)
            _span(connection, namespace, hash, ranges)
            others = select(xorb_spans.c.hash).where(xorb_spans.c.digest == aside).limit(1)
            return connection.execute(others).first() is None

    def became(self, aside: str, digest: str) -> None:
        """Note that what lies aside is a blob, as it is."""
        mine = xorb_spans.c.digest == aside
        ours = (xorb_spans.c.namespace == xorbs.c.namespace) & (xorb_spans.c.hash == xorbs.c.hash)
        with self._database.begin() as connection:
            connection.execute(
                update(xorbs).where(exists().where(ours, mine)).values(waiting=False)
            )
            connection.execute(update(xorb_spans).where(mine).values(digest=digest))

    def losses(self, namespace: str) -> int:
        """How often xorbs of a namespace were lost."""
        query = select(xorb_losses.c.number).where(xorb_losses.c.namespace == namespace)
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def lose(self, namespaces: Collection[str]) -> None:
        """What clients know of these is worth nothing from here on."""
        for namespace in sorted(namespaces):
            with self._database.begin() as connection:
                insert_missing(connection, xorb_losses, [{"namespace": namespace, "number": 0}])
                connection.execute(
                    update(xorb_losses)
                    .where(xorb_losses.c.namespace == namespace)
                    .values(number=xorb_losses.c.number + 1)
                )

    def forget(self, digests: Collection[str]) -> None:
        """Drop every xorb with a chunk in these blobs, and whose they are."""
        listed = sorted(digests)
        losers: set[str] = set()
        for at in range(0, len(listed), _BATCH):
            some = listed[at : at + _BATCH]
            within = xorb_spans.c.digest.in_(some)
            query = select(xorb_spans.c.namespace, xorb_spans.c.hash).where(within).distinct()
            with self._database.begin() as connection:
                losers |= _drop(connection, [tuple(row) for row in connection.execute(query)])
                connection.execute(delete(holdings).where(holdings.c.digest.in_(some)))
        self.lose(losers)

    def drop_waiting(self, before: float) -> None:
        """Drop those that came before a time and are in no file."""
        old = select(xorbs.c.namespace, xorbs.c.hash).where(xorbs.c.waiting, xorbs.c.at < before)
        with self._database.begin() as connection:
            losers = _drop(connection, [tuple(row) for row in connection.execute(old)])
        self.lose(losers)


def _one(namespace: str, hash: str) -> ColumnElement[bool]:
    return (xorbs.c.namespace == namespace) & (xorbs.c.hash == hash)


def _span(connection: Connection, namespace: str, hash: str, ranges: Sequence[Range]) -> None:
    """Put these in place of what was known."""
    mine = (xorb_spans.c.namespace == namespace) & (xorb_spans.c.hash == hash)
    connection.execute(delete(xorb_spans).where(mine))
    key = {"namespace": namespace, "hash": hash}
    if ranges:
        connection.execute(insert(xorb_spans), [{**key, **one._asdict()} for one in ranges])


def _drop(connection: Connection, keys: Sequence[tuple[str, ...]]) -> set[str]:
    """The namespaces of what was dropped, with its spans."""
    for namespace, hash in sorted(keys):
        connection.execute(delete(xorbs).where(_one(namespace, hash)))
    return {namespace for namespace, _ in keys}
