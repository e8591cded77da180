"""What a caller may see of the hub, as pages and `/api/hub` show it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import msgspec

from baigong.errors import NotFound
from baigong.hub.about import CARD
from baigong.hub.access import Actor
from baigong.hub.cards import front_matter
from baigong.hub.commits import Commit, Ref
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry, Files
from baigong.hub.names import MAIN, Kind, fold
from baigong.hub.repositories import Repository
from baigong.hub.search.listing import Query
from baigong.model.tensors import Broken, Layout, read_layout

KINDS: Mapping[str, Kind] = {"models": "model", "datasets": "dataset", "recipes": "recipe"}
PAGE = 25  # repositories, or commits
_CARD_BYTES = 1 << 18
_TEXT_BYTES = 1 << 18
_MOST_LINES = 2000
_MOST_ENTRIES = 1000
_MOST_TENSORS = 2000
_MOST_MADE = 10
_WEIGHTS = ".safetensors"


class Plain(msgspec.Struct, frozen=True):
    """A commit in a line; `created_at` in seconds since the epoch."""

    id: str
    title: str
    message: str
    author: str
    created_at: float


class At(msgspec.Struct, frozen=True):
    """A repository at a revision, as it was asked for."""

    repository: Repository
    revision: str
    commit: Plain
    refs: list[Ref]


class Link(msgspec.Struct, frozen=True):
    """A repository that a card names; `is_here` where the caller can see it."""

    name: str
    is_here: bool


class Lineage(msgspec.Struct, frozen=True):
    """What a repository was made from, and the first models and recipes that stand on it."""

    bases: list[Link]
    datasets: list[Link]
    made: list[Repository]
    made_count: int
    recipes: list[Repository]


class Listed(msgspec.Struct, frozen=True):
    """A file or, without a digest, a folder with all that is in it; `commit` changed it last."""

    path: str
    size: int
    digest: str
    commit: Plain | None


class Tensor(msgspec.Struct, frozen=True):
    """A tensor by the header of its file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parameters: int


class Weights(msgspec.Struct, frozen=True):
    """The tensors of a safetensors file: the first of them, and sums over all."""

    tensors: list[Tensor]
    count: int
    dtypes: dict[str, int]


class Content(msgspec.Struct, frozen=True):
    """A file, and of what is in it that which can be shown.

    Attributes:
        path: in the repository.
        size: bytes.
        digest: sha256.
        commit: changed it last.
        is_here: whether its bytes are; those of a mirrored one may come when they are asked for.
        lines: of a text, the first of them.
        is_whole: whether those are all.
        weights: of a safetensors file.
        problem: why there are none.
    """

    path: str
    size: int
    digest: str
    commit: Plain | None
    is_here: bool = True
    lines: list[str] | None = None
    is_whole: bool = True
    weights: Weights | None = None
    problem: str = ""


class Reader:
    """The hub for one caller. All methods block."""

    def __init__(self, hub: Hub, actor: Actor) -> None:
        self._hub = hub
        self._actor = actor

    def page(self, query: Query) -> tuple[list[Repository], int]:
        """Repositories, and how many there are in all."""
        return self._hub.listing.page(query, self._actor)

    def common(self, kind: Kind) -> dict[str, list[str]]:
        """What the most downloaded repositories say of task, library, language and licence."""
        seen, _ = self.page(Query(kind, sort="downloads", limit=500))
        counts: dict[str, Counter[str]] = {
            "task": Counter(one.about.task for one in seen),
            "library": Counter(one.about.library for one in seen),
            "language": Counter(code for one in seen for code in one.about.languages),
            "license": Counter(one.about.license for one in seen),
        }
        return {name: [v for v, _ in c.most_common(40) if v] for name, c in counts.items()}

    def at(self, kind: Kind, name: str, revision: str) -> At:
        """
        Raises:
            NotFound: the repository, or the revision of it; what may not be seen is not there.
        """
        one = self._hub.repositories.seen(kind, name, self._actor)
        commit = self._hub.commits.resolve(one.id, revision or MAIN)
        refs = [ref for ref in self._hub.commits.refs(one.id) if ref.kind != "pull"]
        return At(one, revision or MAIN, _plain(commit), refs)

    def likes(self, one: Repository) -> bool:
        """Whether the caller does."""
        return self._hub.repositories.is_liked_by(one, self._actor.user)

    def card(self, at: At) -> str:
        """README.md below its front matter; empty where there is none."""
        entry = self._files(at).get(CARD)
        if entry is None or not self._hub.blobs.has(entry.digest):
            return ""
        return front_matter(self._text(entry, _CARD_BYTES))[1]

    def lineage(self, one: Repository) -> Lineage:
        """See Lineage."""
        about = one.about
        bases = [*about.bases, about.base.partition("@")[0]]
        made, count = self.page(made_from(one, "model", _MOST_MADE))
        recipes, _ = self.page(made_from(one, "recipe", _MOST_MADE))
        links = (self._links("model", bases), self._links("dataset", about.datasets))
        return Lineage(*links, made, count, recipes)

    def folder(self, at: At, folder: str) -> tuple[list[Listed], int]:
        """What lies in a folder, folders first, and how many that are in all.

        Raises:
            NotFound: there is no such folder.
        """
        found: dict[str, list[Entry]] = {}
        start = f"{folder}/" if folder else ""
        files = self._files(at)
        for path, entry in files.items():
            if path.startswith(start):
                head, slash, _ = path[len(start) :].partition("/")
                found.setdefault(start + head + slash, []).append(entry)
        if folder and not found:
            raise NotFound(f"There is no folder '{folder[:200]}' in {at.repository.name}.")
        paths = sorted(found, key=lambda path: (not path.endswith("/"), path))[:_MOST_ENTRIES]
        commits = self._hub.commits.of(
            at.repository.id, {entry.commit for path in paths for entry in found[path]}
        )
        return [_listed(path, found[path], commits) for path in paths], len(found)

    def count(self, at: At) -> int:
        """How many files there are."""
        return len(self._files(at))

    def file(self, at: At, path: str) -> Content:
        """
        Raises:
            NotFound: there is no such file.
            Gated: the caller has not been admitted to files.
        """
        self._hub.admissions.check(at.repository, self._actor)
        entry = self._files(at).get(path)
        if entry is None:
            raise NotFound(f"There is no file '{path[:200]}' in {at.repository.name}.")
        commits = self._hub.commits.of(at.repository.id, [entry.commit])
        listed = _listed(path, [entry], commits)
        content = Content(path, entry.size, entry.digest, listed.commit)
        if not self._hub.blobs.has(entry.digest):
            return msgspec.structs.replace(content, is_here=False)
        if path.endswith(_WEIGHTS):
            return self._with_weights(content, entry)
        if entry.is_large:
            return content
        lines = self._text(entry, _TEXT_BYTES).removesuffix("\n").split("\n")
        is_whole = entry.size <= _TEXT_BYTES and len(lines) <= _MOST_LINES
        return msgspec.structs.replace(content, lines=lines[:_MOST_LINES], is_whole=is_whole)

    def history(self, at: At, page: int) -> tuple[list[Plain], int]:
        """The commits of a page, newest first, and how many there are in all."""
        commit = self._hub.commits.resolve(at.repository.id, at.commit.id)
        log = self._hub.commits.log(at.repository.id, commit)
        return [_plain(one) for one in log[(page - 1) * PAGE : page * PAGE]], len(log)

    def _with_weights(self, content: Content, entry: Entry) -> Content:
        blobs = self._hub.blobs
        try:
            layout = read_layout(
                lambda start, stop: blobs.read(entry.digest, start, stop), entry.size
            )
        except Broken as error:
            return msgspec.structs.replace(content, problem=str(error))
        return msgspec.structs.replace(content, weights=_weights(layout))

    def _links(self, kind: Kind, names: list[str]) -> list[Link]:
        wanted = list(dict.fromkeys(name for name in names if name))
        if not wanted:
            return []
        here, _ = self.page(Query(kind, names=tuple(wanted), limit=len(wanted)))
        known = {fold(one.name): one.name for one in here}
        return [Link(known.get(fold(name), name), fold(name) in known) for name in wanted]

    def _files(self, at: At) -> Files:
        commit = self._hub.commits.resolve(at.repository.id, at.commit.id)
        return self._hub.commits.files(commit)

    def _text(self, entry: Entry, most: int) -> str:
        return self._hub.blobs.read(entry.digest, 0, most).decode("utf-8", "replace")


def made_from(one: Repository, kind: Kind, limit: int) -> Query:
    """The repositories whose cards say that they were made from it, the most downloaded first."""
    tag = f"{'dataset' if one.kind == 'dataset' else 'base_model'}:{one.name}"
    return Query(kind, tags=(tag,), sort="downloads", limit=limit)


def kind_of(word: str) -> Kind:
    """
    Raises:
        NotFound: there are no such repositories.
    """
    if word not in KINDS:
        raise NotFound.among("kind of repository", word, list(KINDS))
    return KINDS[word]


def asked(kind: Kind, wanted: Mapping[str, str]) -> Query:
    """The query of an address, such as `search=bert&task=fill-mask&size=1-3&sort=likes&page=2`.

    `size` is a range of billions of parameters; `dataset` is one that models were made with.
    What means nothing is passed over.
    """
    low, _, high = wanted.get("size", "").partition("-")
    sort = wanted.get("sort", "modified")
    dataset = wanted.get("dataset", "")
    return Query(
        kind,
        search=wanted.get("search", "")[:200],
        owner=wanted.get("owner", ""),
        tags=(f"dataset:{dataset}",) if dataset else (),
        task=wanted.get("task", ""),
        library=wanted.get("library", ""),
        language=wanted.get("language", ""),
        license=wanted.get("license", ""),
        base=wanted.get("base", ""),
        min_parameters=_billions(low),
        max_parameters=_billions(high),
        sort=sort if sort in {"created", "downloads", "likes", "name"} else "modified",  # type: ignore[arg-type]
        falling=sort != "name",
        limit=PAGE,
        offset=(page_of(wanted) - 1) * PAGE,
    )


def page_of(wanted: Mapping[str, str]) -> int:
    """The number of the page that an address asks for, the first being 1."""
    number = wanted.get("page", "")
    is_number = number.isascii() and number.isdigit() and len(number) < 8
    return max(1, int(number)) if is_number else 1


def _billions(text: str) -> int:
    return int(text) * 10**9 if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _plain(commit: Commit) -> Plain:
    return Plain(commit.id, commit.title, commit.message, commit.author, commit.created_at)


def _listed(path: str, entries: list[Entry], commits: Mapping[str, Commit]) -> Listed:
    known = [commits[entry.commit] for entry in entries if entry.commit in commits]
    newest = max(known, key=lambda commit: commit.number, default=None)
    return Listed(
        path.removesuffix("/"),
        sum(entry.size for entry in entries),
        "" if path.endswith("/") else entries[0].digest,
        None if newest is None else _plain(newest),
    )


def _weights(layout: Layout) -> Weights:
    dtypes: Counter[str] = Counter()
    tensors: list[Tensor] = []
    for name, head in layout.tensors.items():
        parameters = math.prod(head.shape)
        dtypes[head.dtype] += parameters
        if len(tensors) < _MOST_TENSORS:
            tensors.append(Tensor(name, head.shape, head.dtype, parameters))
    return Weights(tensors, len(layout.tensors), dict(dtypes.most_common()))
