"""The addresses of a repository's pages, of their JSON and of its files' bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import msgspec

from baigong.hub.names import MAIN, Kind
from baigong.hub.reader import KINDS
from baigong.hub.search.listing import Query

WORDS: Mapping[Kind, str] = {kind: word for word, kind in KINDS.items()}
_DOORS: Mapping[Kind, str] = {"model": "/hf", "dataset": "/hf/datasets", "recipe": "/hf/spaces"}


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at a revision."""

    kind: Kind
    name: str
    revision: str = MAIN

    @property
    def home(self) -> str:
        """Without the revision, for what is of all of them."""
        return f"/hub/{WORDS[self.kind]}/{self.name}"

    @property
    def card(self) -> str:
        return self.home + self._query()

    @property
    def history(self) -> str:
        return f"{self.home}/history{self._query()}"

    def later(self, page: int) -> str:
        """A further page of the history."""
        return f"{self.home}/history{self._query(page=str(page))}"

    def folder(self, path: str = "") -> str:
        return f"{self.home}/files{self._query(**{'folder': path} if path else {})}"

    def file(self, path: str) -> str:
        return f"{self.home}/file/{quote(path)}{self._query()}"

    def bytes_of(self, path: str) -> str:
        """Where a file is downloaded, as Hugging Face's clients do."""
        return (
            f"{_DOORS[self.kind]}/{self.name}/resolve/{quote(self.revision, safe='')}/{quote(path)}"
        )

    def at(self, revision: str) -> Place:
        return Place(self.kind, self.name, revision)

    def _query(self, **wanted: str) -> str:
        if self.revision != MAIN:
            wanted = {"revision": self.revision, **wanted}
        return f"?{urlencode(wanted)}" if wanted else ""


def listed(kind: Kind, **wanted: str) -> str:
    """A list of repositories, such as those of an owner."""
    return f"/hub/{WORDS[kind]}" + (f"?{urlencode(wanted)}" if wanted else "")


def searched(query: Query) -> str:
    """The list as `/api` knows it: the fields of the query that say something."""
    plain = Query(query.kind)
    said = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in msgspec.structs.asdict(query).items()
        if value != getattr(plain, name)
    }
    return f"/hub/{WORDS[query.kind]}?{urlencode(said, doseq=True)}"
