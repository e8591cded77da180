"""What large files are made of, as it comes in: xorbs, and the files that shards make of them.

A file is one blob, whatever it came as. Until a shard says which files its chunks are of, a xorb
lies aside; afterwards only where they lie in those blobs is kept, and that is enough to make other
files of them: a client sends again only what has changed.

Xorbs are a namespace's: nobody gets at bytes of another by naming a hash.
"""

from __future__ import annotations

import hashlib
import mmap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from baigong.errors import InvalidInput, NotFound
from baigong.hub.holdings import Holdings
from baigong.hub.names import fold
from baigong.hub.xet.place import Place, Span, Use, pack, unpack
from baigong.hub.xet.shard import File, files_of
from baigong.hub.xet.xorb import Unpacking
from baigong.store.blobs import Blobs, Incoming
from baigong.store.database import Database, insert_missing
from baigong.store.hub_tables import holdings, xorb_losses, xorb_spans, xorbs

MOST_BYTES = 1 << 40  # of a file
KEPT_S = 7 * 86400  # what no file is made of is kept for so long
_PLACES = 128  # of xorbs that are remembered while a shard is read
_BATCH = 500

_Uses = dict[str, dict[int, Use]]  # by xorb and first chunk


class LostXorb(InvalidInput):
    """A shard names chunks that are not here, or no more: a client must not think they are."""

    code = "xorb_missing"


class Arriving:
    """A xorb on its way in; what is not finished leaves no trace."""

    def __init__(self, keep: Callable[[Sequence[int], Incoming], bool], incoming: Incoming) -> None:
        self._keep = keep
        self._incoming = incoming
        self._unpacking = Unpacking()

    def write(self, piece: bytes) -> None:
        """
        Raises:
            InvalidInput: it is no xorb.
            StorageFull: there is no room for it.
        """
        self._incoming.write(self._unpacking.feed(piece))

    def finish(self) -> bool:
        """Keep it; whether it was not here before.

        Raises:
            InvalidInput: it is not whole.
        """
        self._unpacking.finish()
        return self._keep(self._unpacking.sizes, self._incoming)


class Xorbs:
    """The xorbs of all namespaces. All methods block."""

    def __init__(self, database: Database, blobs: Blobs, aside: Blobs, held: Holdings) -> None:
        """`aside` takes what is on its way, by names of its own."""
        self._database = database
        self._blobs = blobs
        self._aside = aside
        self._held = held

    @contextmanager
    def receive(self, namespace: str, hash: str) -> Iterator[Arriving]:
        """What takes a xorb piece by piece; one that is here is replaced."""
        namespace = fold(namespace)

        def keep(sizes: Sequence[int], incoming: Incoming) -> bool:
            row = {"sizes": pack(sizes), "waiting": True, "at": time.time()}
            key = {"namespace": namespace, "hash": hash}
            with self._database.begin() as connection:
                known = select(xorbs.c.hash).where(_one(namespace, hash))
                is_new = connection.execute(known).first() is None
                insert_missing(connection, xorbs, [{**key, **row}])
                connection.execute(update(xorbs).where(_one(namespace, hash)).values(row))
                _unspan(connection, namespace, hash)
                incoming.finish()  # with the row's lock in hand: see _fold
            return is_new

        with self._aside.receive(_name(namespace, hash)) as incoming:
            yield Arriving(keep, incoming)

    def build(
        self,
        namespace: str,
        shard: mmap.mmap | bytes,
        told: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> list[str]:
        """Make the files that a shard lists; their sha256s. All of them, or an error.

        Args:
            namespace: whose xorbs they are made of, and who has sent them.
            shard: its bytes.
            told: hears how many bytes of how many are made.

        Raises:
            InvalidInput: it is no shard, or a file has another sha256 than it says.
            LostXorb: chunks are not here.
            StorageFull: there is no room for the files.
        """
        namespace = fold(namespace)
        try:
            return self._build(namespace, shard, told)
        except InvalidInput:
            # What the client believes to be here may be what is wrong: next time it sends all.
            self._lose([namespace])
            raise

    def losses(self, namespace: str) -> int:
        """How often xorbs of a namespace were lost: what clients know of it is worth nothing after
        the next time."""
        query = select(xorb_losses.c.number).where(xorb_losses.c.namespace == fold(namespace))
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def forget(self, digests: Collection[str]) -> None:
        """Blobs are about to be deleted: no file is made of them from here on."""
        listed, losers = sorted(digests), set()
        for at in range(0, len(listed), _BATCH):
            some = listed[at : at + _BATCH]
            query = (
                select(xorb_spans.c.namespace, xorb_spans.c.hash)
                .where(xorb_spans.c.digest.in_(some))
                .distinct()
            )
            with self._database.begin() as connection:
                for namespace, hash in connection.execute(query).all():
                    losers.add(namespace)
                    _drop(connection, namespace, hash)
                connection.execute(delete(holdings).where(holdings.c.digest.in_(some)))
        self._lose(losers)

    def clear_leftovers(self, older_s: float = KEPT_S) -> None:
        """Take away what came in and was never made a file of, or was being written when a server
        was killed."""
        before = time.time() - older_s
        for store in (self._blobs, self._aside):
            store.clear_leftovers(older_s)
        old = select(xorbs.c.namespace, xorbs.c.hash).where(xorbs.c.waiting, xorbs.c.at < before)
        with self._database.begin() as connection:
            rows = connection.execute(old).all()
            for namespace, hash in rows:
                _drop(connection, namespace, hash)
        self._lose({row.namespace for row in rows})
        for kept in self._aside.all():
            if kept.modified_at < before:
                self._aside.delete(kept.digest)

    def _build(
        self, namespace: str, shard: mmap.mmap | bytes, told: Callable[[int, int], None]
    ) -> list[str]:
        total = sum(file.size for file in files_of(shard))
        if total > MOST_BYTES:
            raise InvalidInput(
                f"The files of a shard have {total} bytes; at most {MOST_BYTES} may be.",
                param="shard",
            )
        place_of = lru_cache(_PLACES)(lambda hash: self._place(namespace, hash))
        uses: _Uses = {}
        made, done = [], 0
        for file in files_of(shard):
            if not self._is_held(namespace, file, place_of):
                made.append(self._make(file, place_of, uses, lambda n: told(done + n, total)))  # noqa: B023
                self._held.add(namespace, made[-1])
            done += file.size
            told(done, total)
        for hash, used in uses.items():
            self._fold(namespace, hash, place_of(hash), used)
        return made

    def _is_held(self, namespace: str, file: File, place_of: Callable[[str], Place]) -> bool:
        """Whether it is here, and of chunks whose place in a file is known."""
        if not self._held.has(file.sha256, namespace):
            return False
        hashes = {term.xorb for term in file.terms()}
        return not any(place_of(hash).is_waiting for hash in hashes)

    def _make(
        self,
        file: File,
        place_of: Callable[[str], Place],
        uses: _Uses,
        told: Callable[[int], None],
    ) -> str:
        """Put a file together; its sha256. What it uses of xorbs that wait is added to `uses`."""
        self._blobs.check_room(file.size)
        used: list[tuple[str, int, int, int]] = []
        seen: set[tuple[str, int]] = set()
        with self._blobs.receive() as incoming:
            for xorb, first, stop, size in file.terms():
                place = place_of(xorb)
                if not first < stop <= place.count or place.size(first, stop) != size:
                    raise InvalidInput(
                        f"A file names chunks {first} to {stop} of the xorb {xorb} as {size} bytes;"
                        f" it has {place.count} chunks, or others of that length.",
                        hint="Upload the file again.",
                        param="shard",
                    )
                if place.is_waiting and (xorb, first) not in seen:
                    seen.add((xorb, first))
                    used.append((xorb, first, stop, incoming.size))
                for part in place.pieces(first, stop):
                    self._copy(part.store.pieces(*part[1:]), part.stop - part.start, incoming, xorb)
                told(incoming.size)
            digest = incoming.finish(file.sha256)
        for xorb, first, stop, start in used:
            found = uses.setdefault(xorb, {})
            if first not in found or found[first].stop < stop:
                found[first] = Use(stop, digest, start)
        return digest

    def _copy(self, pieces: Iterator[bytes], size: int, incoming: Incoming, xorb: str) -> None:
        wanted = incoming.size + size
        try:
            for piece in pieces:
                incoming.write(piece)
        except NotFound as error:
            raise _lost(xorb) from error
        if incoming.size != wanted:
            raise _lost(xorb)

    def _place(self, namespace: str, hash: str) -> Place:
        with self._database.read() as connection:
            row = connection.execute(select(xorbs).where(_one(namespace, hash))).first()
            query = (
                select(xorb_spans)
                .where(xorb_spans.c.namespace == namespace, xorb_spans.c.hash == hash)
                .order_by(xorb_spans.c.first)
            )
            spans = [
                Span(r.first, self._blobs, r.digest, r.start) for r in connection.execute(query)
            ]
        if row is None:
            raise _lost(hash)
        if row.waiting:
            spans = [Span(0, self._aside, _name(namespace, hash), 0)]
        return Place(unpack(row.sizes), spans, is_waiting=row.waiting)

    def _fold(self, namespace: str, hash: str, place: Place, uses: dict[int, Use]) -> None:
        """Where every chunk of a xorb is in a file now, keep no second copy of it."""
        spans = place.covered(uses)
        if not spans:
            return
        key = {"namespace": namespace, "hash": hash}
        with self._database.begin() as connection:
            # A client may be sending the same xorb again: its row is locked before its bytes go.
            connection.execute(
                update(xorbs).where(_one(namespace, hash)).values(waiting=False, at=time.time())
            )
            _unspan(connection, namespace, hash)
            names = ("first", "digest", "start")
            connection.execute(
                insert(xorb_spans),
                [{**key, **dict(zip(names, span, strict=True))} for span in spans],
            )
            self._aside.delete(_name(namespace, hash))

    def _lose(self, namespaces: Collection[str]) -> None:
        for namespace in sorted(namespaces):
            with self._database.begin() as connection:
                insert_missing(connection, xorb_losses, [{"namespace": namespace, "number": 0}])
                connection.execute(
                    update(xorb_losses)
                    .where(xorb_losses.c.namespace == namespace)
                    .values(number=xorb_losses.c.number + 1)
                )


def _one(namespace: str, hash: str) -> ColumnElement[bool]:
    return (xorbs.c.namespace == namespace) & (xorbs.c.hash == hash)


def _unspan(connection: Connection, namespace: str, hash: str) -> None:
    query = delete(xorb_spans).where(xorb_spans.c.namespace == namespace, xorb_spans.c.hash == hash)
    connection.execute(query)


def _drop(connection: Connection, namespace: str, hash: str) -> None:
    _unspan(connection, namespace, hash)
    connection.execute(delete(xorbs).where(_one(namespace, hash)))


def _name(namespace: str, hash: str) -> str:
    """What a xorb is called aside."""
    return hashlib.sha256(f"xorb {namespace} {hash}".encode()).hexdigest()


def _lost(hash: str) -> LostXorb:
    return LostXorb(
        f"The xorb {hash} is not here.",
        hint="Run the same upload again: everything is sent anew then.",
        param="shard",
    )
