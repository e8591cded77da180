"""What a store is: chunks of one knowledge base, replaced in one step and searched in two ways."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from baigong.knowledge.where import Scalar, Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ChunkRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chunk as it is kept. Bytes `start:end` of the text of `document`, a number.

    Attributes:
        path: the document's name; `title` is the path of headings, `text` the chunk's own, `lead`
            what stands above the table that it begins in.
        terms: what full text searches: index terms between blanks.
        access: who may find it; None is everybody.
        published_at: seconds since the epoch, as `expires_at`.
        vector: (size,) of length 1; None in a knowledge base without an embedder.
    """

    document: int
    path: str
    title: str
    text: str
    terms: str
    start: int
    end: int
    page: int | None = None
    metadata: dict[str, Scalar] = {}
    access: tuple[str, ...] | None = None
    published_at: float | None = None
    expires_at: float | None = None
    lead: str = ""
    vector: NDArray[np.float32] | None = None


class Hit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A chunk that was found. `score` is BM25 from `words`, the cosine from `near`."""

    document: int
    path: str
    title: str
    text: str
    start: int
    end: int
    page: int | None
    published_at: float | None
    lead: str = ""
    score: float = 0.0


class Scope(msgspec.Struct, frozen=True):
    """What a search may find at all.

    Attributes:
        where: by metadata.
        readers: the names that the asker goes by; None is someone who may read everything.
        now: seconds since the epoch; what has expired by then is left out. None leaves out nothing.
        as_of: what was published later is left out.
        without: numbers of documents that are left out.
    """

    where: Where | None = None
    readers: tuple[str, ...] | None = None
    now: float | None = None
    as_of: float | None = None
    without: tuple[int, ...] = ()


EVERYTHING = Scope()


class Overtaken(Exception):
    """Others wrote while this was being done, so that it could not be finished; nothing changed."""


class Chunks(Protocol):
    """The chunks of one knowledge base, or of a pinned state of it. All methods block.

    One writer at a time, which the caller sees to; any number of readers in any process that the
    store allows. Readers see a finished `replace` at once.
    """

    @property
    def is_in_memory(self) -> bool:
        """Whether searches are work of this process alone, so that several at once gain nothing."""

    def replace(self, documents: Collection[int], rows: Sequence[ChunkRow]) -> None:
        """The chunks of these documents go, `rows` come. Durable when it returns.

        A kill in the middle leaves either the state before, or both old and new, never neither.

        Raises:
            StorageFull: the disk is full; nothing has changed.
        """

    def words(self, terms: Sequence[str], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        """The chunks with any of these terms, best first."""

    def near(self, vector: NDArray[np.float32], limit: int, scope: Scope = EVERYTHING) -> list[Hit]:
        """The chunks whose vectors are nearest, nearest first."""

    def both(
        self,
        terms: Sequence[str],
        vector: NDArray[np.float32],
        limit: int,
        scope: Scope = EVERYTHING,
    ) -> tuple[list[Hit], list[Hit]]:
        """What `words` and `near` find, in less than one after the other takes."""

    def counts(self, documents: Collection[int]) -> dict[int, int]:
        """How many chunks each of these documents has; those without any are left out."""

    def count(self) -> int:
        """How many chunks there are."""

    def tend(self) -> bool:
        """Compact and index what searches would otherwise go through one by one.

        Cheap where little has changed since the last time; whether anything was done. It may run
        beside one writer.

        Raises:
            Overtaken: what was written meanwhile does not go together with it.
        """

    def pin(self, name: str) -> None:
        """Keep the present state under a name, for ever unchanged. The same name twice is one pin."""

    def unpin(self, name: str) -> None:
        """Let go of a pinned state, if there is one."""

    def pinned(self, name: str) -> Chunks:
        """The state of that pin, for reading alone.

        Raises:
            NotFound: there is none.
        """


class Stores(Protocol):
    """All knowledge bases of one installation."""

    def open(self, key: str, vector_size: int | None) -> Chunks:
        """The chunks under a key of letters, digits, `-` and `_`; made where there are none."""

    def drop(self, key: str) -> None:
        """Delete all of it, pinned states too."""
