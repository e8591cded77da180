"""Files of a shard, made of xorbs."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import lru_cache

from baigong.errors import InvalidInput, NotFound
from baigong.hub.holdings import Holdings
from baigong.hub.xet.ledger import Ledger, LostXorb
from baigong.hub.xet.place import Place, Use
from baigong.hub.xet.runs import Runs
from baigong.hub.xet.shard import File, Term, files_of
from baigong.store.blobs import Blobs, Incoming, check_digest

MOST_BYTES = 1 << 40  # of a shard's files
_PLACES = 128  # of xorbs that are remembered

Told = Callable[[int, int], None]


class Building:
    """One shard's files. All methods block."""

    def __init__(
        self,
        namespace: str,
        ledger: Ledger,
        runs: Runs,
        held: Holdings,
        blobs: Blobs,
        aside: Blobs,
    ) -> None:
        self._namespace = namespace
        self._ledger = ledger
        self._runs = runs
        self._held = held
        self._blobs = blobs
        self._aside = aside
        self._place = lru_cache(_PLACES)(lambda hash: ledger.place(namespace, hash))
        self._uses: dict[str, dict[int, Use]] = {}  # of xorbs aside, by their chunks

    def build(self, shard: mmap.mmap | bytes, told: Told) -> list[str]:
        """The sha256s of those that were not here. See `Xorbs.build`."""
        total = sum(file.size for file in files_of(shard))
        if total > MOST_BYTES:
            raise InvalidInput(
                f"The files of a shard have {total} bytes; at most {MOST_BYTES} may be.",
                param="shard",
            )
        made, done = [], 0
        for file in files_of(shard):
            if self._is_here(file):
                digest = file.sha256
            else:
                digest = self._taken(file) or self._made(file, told, done, total)
                made.append(digest)
            self._held.add(self._namespace, digest)  # which a commit will name
            done += file.size
            told(done, total)
        self._fold()
        return made

    def _is_here(self, file: File) -> bool:
        """Whether it is, and of xorbs of which nothing lies aside any more."""
        if not self._held.promises(self._namespace, file.sha256):
            return False
        return not any(self._place(hash).aside for hash in {term.xorb for term in file.terms()})

    def _taken(self, file: File) -> str:
        """The sha256 of a file that lies in a run as it is, and is taken from there."""
        first = next(file.terms(), None)
        name = "" if first is None else self._place(first.xorb).aside
        run = self._runs.end(name) if name else None
        if run is None:
            return ""
        try:
            digest = run.digest()
            if not digest or run.size != file.size or not self._lies_in(name, file):
                return ""
            check_digest(digest, file.sha256)
            self._blobs.share(run.path, digest)
        finally:
            run.close()
        self._ledger.became(name, digest)
        self._place.cache_clear()
        self._aside.delete(name)
        return digest

    def _lies_in(self, name: str, file: File) -> bool:
        """Whether its chunks lie one behind the other in what is aside, from the beginning on."""
        at = 0
        for term in file.terms():
            for piece in self._checked(term).pieces(term.first, term.stop):
                if piece.name != name or piece.start != at:
                    return False
                at = piece.stop
        return True

    def _made(self, file: File, told: Told, done: int, total: int) -> str:
        """The sha256 of a file that is put together."""
        self._blobs.check_room(file.size)
        used: dict[tuple[str, int], Use] = {}
        with self._blobs.receive() as incoming:
            for term in file.terms():
                place, key = self._checked(term), (term.xorb, term.first)
                if place.aside and (key not in used or used[key].stop < term.stop):
                    used[key] = Use(term.stop, "", incoming.size)
                for part in place.pieces(term.first, term.stop):
                    pieces = part.store.pieces(part.name, part.start, part.stop)
                    _copy(pieces, part.stop - part.start, incoming, term.xorb)
                told(done + incoming.size, total)
            digest = incoming.finish(file.sha256)
        for (xorb, first), use in used.items():
            known = self._uses.setdefault(xorb, {})
            if first not in known or known[first].stop < use.stop:
                known[first] = use._replace(digest=digest)
        return digest

    def _checked(self, term: Term) -> Place:
        """
        Raises:
            LostXorb: its xorb is not here.
            InvalidInput: the xorb has no such chunks.
        """
        place = self._place(term.xorb)
        is_there = term.first < term.stop <= place.count
        if not is_there or place.size(term.first, term.stop) != term.size:
            raise InvalidInput(
                f"A file names {term.size} bytes as chunks {term.first} to {term.stop} of the xorb"
                f" {term.xorb}, which has {place.count} chunks, or others of that length.",
                hint="Upload the file again.",
                param="shard",
            )
        return place

    def _fold(self) -> None:
        """Of xorbs all of whose chunks are in files now, keep no second copy."""
        for hash, uses in self._uses.items():
            place = self._place(hash)
            ranges = place.covered(uses)
            if ranges and self._ledger.fold(self._namespace, hash, ranges, place.aside):
                if (run := self._runs.end(place.aside)) is not None:
                    run.close()
                self._aside.delete(place.aside)


def _copy(pieces: Iterator[bytes], size: int, incoming: Incoming, xorb: str) -> None:
    """
    Raises:
        LostXorb: there are other than `size` bytes.
    """
    wanted = incoming.size + size
    try:
        for piece in pieces:
            incoming.write(piece)
    except NotFound as error:
        raise LostXorb.of(xorb) from error
    if incoming.size != wanted:
        raise LostXorb.of(xorb)
