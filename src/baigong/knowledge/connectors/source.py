"""What a connector is: something that lists what its source holds now, and reads one entry of it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from baigong.errors import Problem
from baigong.knowledge.formats import Unreadable
from baigong.knowledge.where import Scalar


class Gone(Unreadable):
    """An entry that was listed is no longer there: what was read of it goes, if the source forgets."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Something that the source holds now, e.g. a file.

    Attributes:
        path: the document's name, the only one of that name in the source, parted by `/`.
        stamp: changes whenever the content may have, e.g. an ETag; None where only reading tells.
        size_bytes: where it is known before reading.
    """

    path: str
    stamp: str | None = None
    size_bytes: int | None = None


class Content(msgspec.Struct, frozen=True, gc=False):
    """What an entry holds.

    Attributes:
        stamp: what to compare the entry with next time.
        suffix: the kind of file, e.g. ".html", where the path does not tell.
        url: where a person may open it.
        title: what the source calls it, if anything; else the document says.
        access: who may read it, by name; None is everybody.
        published_at: seconds since the epoch, as `expires_at`, after which it answers no more.
    """

    data: bytes
    stamp: str | None = None
    suffix: str | None = None
    url: str | None = None
    title: str | None = None
    metadata: dict[str, Scalar] = {}
    access: tuple[str, ...] | None = None
    published_at: float | None = None
    expires_at: float | None = None


class Listing(msgspec.Struct, frozen=True):
    """All that a source holds now, and what was passed over."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()


class Source(Protocol):
    """A connector, opened on one source. All methods block."""

    @property
    def name(self) -> str:
        """The one text that stands for this source; `open_source` understands it."""

    @property
    def forgets(self) -> bool:
        """Whether a document whose entry is no longer listed is to be removed."""

    def list(self) -> Listing:
        """Everything there is now, in a fixed order.

        Raises:
            BaigongError: the source cannot be listed as a whole. Then nothing is removed.
        """

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        """The content of an entry; None where it is what `stamp`, from the last read, stood for.

        After None the entry's own stamp, where it has one, stands for that content too.

        Raises:
            Gone: there is no such entry any more.
            formats.Unreadable: this entry cannot be read. What was read of it before stays.
        """
