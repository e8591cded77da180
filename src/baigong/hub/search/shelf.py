"""Repositories in memory, as a list is made of them: columns, postings and orders.

Each is at a place of its own. What is searched of it never changes there: a repository that says
something else of itself gets another place, and the old one is empty from then on. Not safe to share
between threads.
"""

from __future__ import annotations

from array import array
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from baigong.hub.about import About
from baigong.hub.access import Actor
from baigong.hub.cards import strings
from baigong.hub.names import KINDS, Kind, fold
from baigong.hub.repositories import Repository
from baigong.hub.search.substrings import Substrings

Sort = Literal["modified", "created", "downloads", "likes", "name", "trending"]

_LARGEST = 8192  # bytes of a repository that are kept here with its card
_MOST_TAGS, _LONGEST_TAG = 256, 256  # that can be asked for
_COLUMNS = {
    "id": np.int64,
    "changed": np.float64,
    "said": np.int64,
    "kind": np.int8,  # -1 is an empty place
    "private": np.bool_,
    "parameters": np.int64,
    "modified": np.float64,
    "created": np.float64,
    "downloads": np.int64,
    "likes": np.int64,
}
_SORTS = {"trending": "downloads"}  # no history is kept of them, so that the sum is all there is
# What a dataset's card calls what it is for.
_DATASET_TAGS = ("task_categories", "task_ids", "size_categories")

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]


class Query(msgspec.Struct, frozen=True):
    """Which repositories, in which order. Nothing in it tells upper case from lower case.

    Attributes:
        kind: of all of them.
        search: words that each stand somewhere in the name, the title or a tag.
        owner: the part of the name before the slash.
        tags: all of which it must have: see `tags_of`.
        task, library, language, license: as its files say.
        base: `owner/name` that it was made from.
        min_parameters, max_parameters: 0 is no bound; what has an unknown number is in no bounds.
        names: none but these.
        sort: equal ones by when they were made. `trending` is as `downloads`.
        falling: the largest, newest or last in the alphabet first.
        limit: rows of the page.
        offset: rows before it.
    """

    kind: Kind
    search: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    task: str = ""
    library: str = ""
    language: str = ""
    license: str = ""
    base: str = ""
    min_parameters: int = 0
    max_parameters: int = 0
    names: tuple[str, ...] = ()
    sort: Sort = "modified"
    falling: bool = True
    limit: int = 20
    offset: int = 0

    def all_tags(self) -> set[str]:
        """What `tags_of` must hold."""
        named = {
            "owner": self.owner,
            "task": self.task,
            "library": self.library,
            "language": self.language,
            "license": self.license,
            "base_model": self.base,
        }
        asked = {f"{field}:{value}".lower() for field, value in named.items() if value}
        return asked | {tag.lower() for tag in self.tags}


def tags_of(name: str, about: About) -> set[str]:
    """Everything that a repository may be asked for by, in lower case.

    Tasks, libraries, languages and the card's tags are there as such and, but for the tags, with
    their field before a colon. Others always with it: `license:mit`, `base_model:owner/name`,
    `dataset:owner/name`, `owner:name`.
    """
    categories = {key: strings(about.card.get(key)) for key in _DATASET_TAGS}
    owner = fold(name.partition("/")[0])
    named = {
        "task": [about.task, *categories["task_categories"]],
        "library": [about.library],
        "language": about.languages,
    }
    others = {
        "license": [about.license],
        "base_model": [*about.bases, about.base.partition("@")[0]],
        "dataset": about.datasets,
        **categories,
    }
    said = {*about.tags, *(value for values in named.values() for value in values)}
    # Whose it is decides who sees it, so that no card may say so.
    found = {word for word in said if not word.lower().startswith("owner:")}
    for field, values in {**named, **others}.items():
        found |= {f"{field}:{value}" for value in values if value}
    short = {tag.lower() for tag in found if tag and len(tag) <= _LONGEST_TAG}
    some = short if len(short) <= _MOST_TAGS else set(sorted(short)[:_MOST_TAGS])
    return some | {f"owner:{owner}"}


def text_of(name: str, about: About) -> str:
    """What is searched for words."""
    title = about.card.get("title") or about.card.get("pretty_name") or ""
    return " ".join([name, str(title)[:_LONGEST_TAG], *about.tags[:_MOST_TAGS], about.task])


class Shelf:
    """See the module."""

    def __init__(self) -> None:
        self._at: dict[int, int] = {}
        self._packed: list[bytes] = []
        self._folded: list[str] = []
        self._columns: dict[str, NDArray[Any]] = {
            name: np.zeros(1024, kind) for name, kind in _COLUMNS.items()
        }
        self._tags: dict[str, array[int]] = {}
        self._texts = Substrings()
        self._orders: dict[str, tuple[Places, Places]] = {}
        self._kinds: dict[Kind, Mask] = {}
        self._by_name: list[int] = []

    def __len__(self) -> int:
        """Places, empty ones included."""
        return len(self._packed)

    @property
    def ids(self) -> set[int]:
        """Of all that were put here, those that are hidden included."""
        return set(self._at)

    def changed_at(self, id: int) -> float | None:
        """When what is here of a repository was written."""
        at = self._at.get(id)
        return None if at is None else float(self._columns["changed"][at])

    def put(self, one: Repository, changed_at: float, *, is_hidden: bool) -> None:
        """A repository as it is now. One that is hidden is in no list."""
        packed, said = _pack(one), hash(msgspec.json.encode((one.name, one.about)))
        at = self._at.get(one.id)
        if at is None or self._columns["said"][at] != said:
            self._empty(at)
            at = self._append(one)
        values = {
            "id": one.id,
            "changed": changed_at,
            "said": said,
            "kind": -1 if is_hidden else KINDS.index(one.kind),
            "private": one.private,
            "parameters": one.about.parameters,
            "modified": one.modified_at,
            "created": one.created_at,
            "downloads": one.downloads,
            "likes": one.likes,
        }
        for name, value in values.items():
            column = self._columns[name]
            if column[at] != value:
                column[at] = value
                self._orders.pop(name, None)
                if name == "kind":
                    self._kinds.clear()
        self._packed[at] = packed
        self._at[one.id] = at

    def forget(self, id: int) -> None:
        """A repository whose row is gone."""
        self._empty(self._at.pop(id))

    @property
    def is_wasteful(self) -> bool:
        """Whether most places are empty."""
        return len(self._packed) > 2 * len(self._at) + 1024

    def page(self, query: Query, actor: Actor) -> tuple[list[Repository], int]:
        """The rows of the page that the actor may see, and how many there are in all."""
        hits = self._hits(query, actor)
        total = int(np.count_nonzero(hits))
        order, rank = self._order(_SORTS.get(query.sort, query.sort))
        stop = query.offset + query.limit
        if total * 16 < len(self):
            few = np.flatnonzero(hits)
            few = few[np.argsort(rank[few])]
            found = (few[::-1] if query.falling else few)[query.offset : stop]
        else:
            found = _first(hits, order[::-1] if query.falling else order, stop)[query.offset :]
        return [_unpack(self._packed[at]) for at in found], total

    def _hits(self, query: Query, actor: Actor) -> Mask:
        hits = self._of_kind(query.kind).copy()
        if not actor.is_operator:
            mine = {f"owner:{fold(name)}" for name in (actor.user, *actor.organisations)}
            hits &= ~self._column("private") | self._with_any(mine)
        for tag in query.all_tags():
            hits &= self._with_any({tag})
        for word in query.search.lower().split():
            hits &= self._mask(self._texts.find(word))
        if query.names:
            hits &= self._called(query.names)
        if query.min_parameters or query.max_parameters:
            parameters = self._column("parameters")
            hits &= (parameters > 0) & (parameters >= query.min_parameters)
            if query.max_parameters:
                hits &= parameters <= query.max_parameters
        return hits

    def _of_kind(self, kind: Kind) -> Mask:
        if kind not in self._kinds:
            self._kinds[kind] = self._column("kind") == KINDS.index(kind)
        return self._kinds[kind]

    def _with_any(self, tags: set[str]) -> Mask:
        found = [np.array(self._tags[tag], np.intp) for tag in tags if tag in self._tags]
        return self._mask(np.concatenate(found) if found else np.array([], np.intp))

    def _called(self, names: tuple[str, ...]) -> Mask:
        wanted = {fold(name) for name in names}
        some = {int(at) for name in wanted for at in self._texts.find(name)}
        exact = [at for at in some if self._folded[at] in wanted]
        return self._mask(np.array(exact, np.intp))

    def _order(self, sort: str) -> tuple[Places, Places]:
        """Places in rising order, and the rank of each place in it."""
        kept = self._orders.get(sort)
        if kept is None or len(kept[0]) != len(self):
            if sort == "name":
                self._by_name.extend(range(len(self._by_name), len(self)))
                self._by_name.sort(key=self._folded.__getitem__)  # quick where most is sorted
                order = np.array(self._by_name, np.intp)
            else:
                order = np.lexsort((self._column("id"), self._column(sort)))
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order))
            kept = self._orders[sort] = order, rank
        return kept

    def _append(self, one: Repository) -> int:
        at = len(self._packed)
        if at == len(self._columns["id"]):
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.zeros_like(column)])
        self._kinds.clear()
        self._packed.append(b"")
        self._folded.append(fold(one.name))
        self._texts.add(text_of(one.name, one.about))
        for tag in tags_of(one.name, one.about):
            self._tags.setdefault(tag, array("I")).append(at)
        return at

    def _empty(self, at: int | None) -> None:
        if at is not None:
            self._columns["kind"][at] = -1
            self._packed[at] = b""
            self._kinds.clear()

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name][: len(self._packed)]

    def _mask(self, places: Places) -> Mask:
        mask = np.zeros(len(self._packed), np.bool_)
        mask[places] = True
        return mask


def _first(hits: Mask, order: Places, count: int) -> Places:
    """The first hits in the order."""
    found: list[Places] = []
    for start in range(0, len(order), 4096):
        if sum(map(len, found)) >= count:
            break
        some = order[start : start + 4096]
        found.append(some[hits[some]])
    return np.concatenate(found)[:count] if found else order


def _pack(one: Repository) -> bytes:
    packed = _encode(one)
    if len(packed) > _LARGEST:
        about = msgspec.structs.replace(one.about, card={})
        packed = _encode(msgspec.structs.replace(one, about=about))
    return packed


_encode = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Repository).decode
