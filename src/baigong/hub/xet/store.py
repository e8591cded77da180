"""What large files are made of, as it comes in: xorbs, and the files that shards make of them.

A file is one blob, whatever it came as. Until a shard says which files its chunks are of, a xorb
lies aside; afterwards only where they lie in those blobs is kept, and that is enough to make other
files of them: a client sends again only what has changed.

Xorbs are a namespace's: nobody gets at bytes of another by naming a hash.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from baigong.errors import InvalidInput
from baigong.hub.holdings import Holdings
from baigong.hub.names import fold
from baigong.hub.xet.building import Building, Told
from baigong.hub.xet.ledger import Ledger
from baigong.hub.xet.runs import Run, Runs
from baigong.hub.xet.xorb import Unpacking
from baigong.store.blobs import Blobs
from baigong.store.database import Database

KEPT_S = 7 * 86400  # for so long what is aside and in no file


class Arriving:
    """A xorb on its way in; what is not finished leaves no trace."""

    def __init__(self, run: Run, keep: Callable[[Sequence[int]], bool]) -> None:
        self._run = run
        self._keep = keep
        self._unpacking = Unpacking()

    def writelines(self, pieces: Sequence[bytes]) -> None:
        """
        Raises:
            InvalidInput: it is no xorb.
            StorageFull: there is no room for it.
        """
        self._run.writelines([plain for piece in pieces for plain in self._unpacking.feed(piece)])

    def finish(self) -> bool:
        """Keep it; whether it was not here before.

        Raises:
            InvalidInput: it is not whole.
        """
        self._unpacking.finish()
        return self._keep(self._unpacking.sizes)


class Xorbs:
    """The xorbs of all namespaces. All methods block."""

    def __init__(self, database: Database, blobs: Blobs, aside: Blobs, held: Holdings) -> None:
        """`aside` takes what is on its way, by names of its own."""
        self._blobs = blobs
        self._aside = aside
        self._held = held
        self._ledger = Ledger(database, blobs, aside)
        self._runs = Runs(aside)

    @contextmanager
    def receive(self, namespace: str, hash: str, client: str) -> Iterator[Arriving]:
        """What takes a xorb piece by piece; one that is here is replaced.

        `client` tells those apart that send at the same time.
        """
        namespace = fold(namespace)
        with self._runs.turn(f"{namespace} {client}") as run:
            yield Arriving(run, lambda sizes: self._ledger.keep(namespace, hash, sizes, run))

    def build(
        self,
        namespace: str,
        shard: mmap.mmap | bytes,
        told: Told = lambda _done, _all: None,
    ) -> list[str]:
        """Make the files that a shard lists: all of them, or an error.

        Args:
            namespace: whose xorbs they are made of, and who has sent them.
            shard: its bytes.
            told: hears how many bytes of how many are made.

        Returns:
            The sha256s of those that were not here.

        Raises:
            InvalidInput: it is no shard, or a file has another sha256 than it says.
            LostXorb: chunks are not here.
            StorageFull: there is no room for the files.
        """
        namespace = fold(namespace)
        building = Building(
            namespace, self._ledger, self._runs, self._held, self._blobs, self._aside
        )
        try:
            return building.build(shard, told)
        except InvalidInput:
            # What the client believes to be here may be what is wrong: next time it sends all.
            self._ledger.lose([namespace])
            raise

    def losses(self, namespace: str) -> int:
        """How often xorbs of a namespace were lost: what clients know of it is worth nothing after
        the next time."""
        return self._ledger.losses(fold(namespace))

    def forget(self, digests: Collection[str]) -> None:
        """Blobs are about to be deleted: no file is made of them from here on."""
        self._ledger.forget(digests)

    def close(self) -> None:
        """Let go of files that are written to. What has come in stays."""
        self._runs.close()

    def clear_leftovers(self, older_s: float = KEPT_S) -> None:
        """Take away what came in and no file was ever made of, and what was being written when a
        server was killed."""
        before = time.time() - older_s
        self._ledger.drop_waiting(before)
        for store in (self._blobs, self._aside):
            store.clear_leftovers(older_s)
        for kept in self._aside.all():
            if kept.modified_at < before:
                self._aside.delete(kept.digest)
