"""What the pages show of repositories, as plain values in one language."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from baigong.console.hub.places import Place, listed
from baigong.console.view import day
from baigong.console.words import Say
from baigong.hub.names import Kind
from baigong.hub.reader import PAGE, At, Content, Lineage, Link, Listed, Plain, page_of
from baigong.hub.repositories import Repository

FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "model": ("task", "library", "language", "license", "base"),
    "dataset": ("task", "language", "license"),
    "recipe": ("language", "license", "base"),
}
SIZES = (  # billions of parameters, as an address has them and as they are shown
    ("0-1", "< 1 B"),
    ("1-3", "1 – 3 B"),
    ("3-8", "3 – 8 B"),
    ("8-30", "8 – 30 B"),
    ("30-100", "30 – 100 B"),
    ("100-", "> 100 B"),
)
SORTS = ("modified", "created", "downloads", "likes", "name")
_HIDDEN = ("owner", "dataset")  # come with a link, and are taken off again
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A repository in a line."""

    name: str
    url: str
    title: str
    private: bool
    gated: bool
    adapter: bool
    recipe: bool
    task: str
    parameters: str
    size: str
    license: str
    likes: str
    downloads: str
    changed: str
    changed_at: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to; `hidden` are (name, value, address without it)."""

    search: str
    fields: list[tuple[str, str]]
    size: str
    sort: str
    hidden: list[tuple[str, str, str]]
    is_any: bool


@dataclass(frozen=True, slots=True)
class Steps:
    """Where in a list the reader is; the addresses are empty at its ends."""

    first: int
    last: int
    total: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CommitRow:
    """A commit in a line."""

    id: str
    url: str
    title: str
    message: str
    author: str
    made: str
    made_at: str


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file or a folder in a line."""

    name: str
    url: str
    download: str
    size: str
    commit: CommitRow | None


@dataclass(frozen=True, slots=True)
class LinkView:
    """A repository by its name; no address where it is not here."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above every page of a repository."""

    kind: Kind
    owner: str
    owner_url: str
    name: str
    place: Place
    private: bool
    gated: bool
    task: str
    likes: str
    downloads: str
    liked: bool
    revision: str
    branches: list[str]
    tags: list[str]
    other: str  # the revision, where it is a commit
    commit: CommitRow


def row(one: Repository, say: Say) -> RepositoryRow:
    about = one.about
    title = about.card.get("pretty_name") or about.card.get("title") or ""
    return RepositoryRow(
        name=one.name,
        url=Place(one.kind, one.name).card,
        title=str(title)[:120],
        private=one.private,
        gated=one.settings.gated is not None,
        adapter=about.is_adapter,
        recipe=one.kind == "recipe",
        task=_task(one),
        parameters=many(about.parameters) if about.parameters else "",
        size=size(about.size),
        license=about.license,
        likes=many(one.likes),
        downloads=many(one.downloads),
        changed=age(one.modified_at, say),
        changed_at=day(one.modified_at),
    )


def filters(kind: Kind, wanted: Mapping[str, str]) -> Filters:
    """As the address has them."""
    fields = [(name, wanted.get(name, "")) for name in FIELDS[kind]]
    chosen = wanted.get("sort", "")
    hidden = [
        (name, wanted[name], listed(kind, **_without(wanted, name, "page")))
        for name in _HIDDEN
        if wanted.get(name)
    ]
    search, range_ = wanted.get("search", ""), wanted.get("size", "")
    is_any = bool(search or range_ or hidden or any(value for _, value in fields))
    sort = chosen if chosen in SORTS else SORTS[0]
    return Filters(search, fields, range_, sort, hidden, is_any)


def steps(address: str, wanted: Mapping[str, str], total: int) -> Steps:
    """Of the page that `wanted` names, `address` being that of the list."""
    page = page_of(wanted)

    def to(number: int) -> str:
        return f"{address}?{urlencode({**_without(wanted, 'lang'), 'page': number})}"

    return Steps(
        first=min(total, (page - 1) * PAGE + 1),
        last=min(total, page * PAGE),
        total=f"{total:,}",
        before=to(page - 1) if page > 1 else "",
        after=to(page + 1) if page * PAGE < total else "",
    )


def head(at: At, liked: bool, say: Say) -> Head:
    one = at.repository
    branches = [ref.name for ref in at.refs if ref.kind == "branch"]
    tags = [ref.name for ref in at.refs if ref.kind == "tag"]
    owner, _, name = one.name.partition("/")
    place = Place(one.kind, one.name, at.revision)
    return Head(
        kind=one.kind,
        owner=owner,
        owner_url=listed(one.kind, owner=owner),
        name=name,
        place=place,
        private=one.private,
        gated=one.settings.gated is not None,
        task=_task(one),
        likes=many(one.likes),
        downloads=many(one.downloads),
        liked=liked,
        revision=at.revision,
        branches=branches,
        tags=tags,
        other="" if at.revision in {*branches, *tags} else at.revision,
        commit=commit_row(at.commit, place, say),
    )


def facts(one: Repository, say: Say) -> list[tuple[str, list[tuple[str, str]]]]:
    """(name, its values), each with the address of the list of those alike, or none."""
    about, kind = one.about, one.kind
    kept = dtypes(about.dtypes) if len(about.dtypes) > 1 else "".join(about.dtypes)
    found = [
        (say("parameters"), [(many(about.parameters) if about.parameters else "", "")]),
        (say("dtypes"), [(kept, "")]),
        (say("architecture"), [(about.architecture, "")]),
        (say("field_task"), [(about.task, listed(kind, task=about.task))]),
        (say("field_library"), [(about.library, listed(kind, library=about.library))]),
        (say("field_license"), [(about.license, listed(kind, license=about.license))]),
        (say("field_language"), [(c, listed(kind, language=c)) for c in about.languages[:12]]),
        (say("size_all"), [(size(about.size), "")]),
    ]
    return [(name, values) for name, values in found if any(value for value, _ in values)]


def links(kind: Kind, found: Sequence[Link]) -> list[LinkView]:
    return [LinkView(one.name, Place(kind, one.name).card if one.is_here else "") for one in found]


def all_made(one: Repository, lineage: Lineage) -> str:
    """The address of the list of what was made from it, where that is longer than what is shown."""
    if lineage.made_count <= len(lineage.made):
        return ""
    return listed("model", **{"base" if one.kind == "model" else "dataset": one.name})


def commit_row(one: Plain, place: Place, say: Say) -> CommitRow:
    return CommitRow(
        id=one.id[:8],
        url=place.at(one.id).folder(),
        title=one.title,
        message=one.message,
        author=one.author,
        made=age(one.created_at, say),
        made_at=day(one.created_at),
    )


def file_row(one: Listed, place: Place, say: Say) -> FileRow:
    name = one.path.rpartition("/")[2]
    return FileRow(
        name=name if one.digest else f"{name}/",
        url=place.file(one.path) if one.digest else place.folder(one.path),
        download=place.bytes_of(one.path) if one.digest else "",
        size=size(one.size),
        commit=None if one.commit is None else commit_row(one.commit, place, say),
    )


def crumbs(place: Place, path: str) -> list[tuple[str, str]]:
    """(name, address) of the folders above a path, the repository first."""
    parts = path.split("/")[:-1]
    above = ["/".join(parts[: at + 1]) for at in range(len(parts))]
    name = place.name.partition("/")[2]
    return [(name, place.folder()), *((p.rpartition("/")[2], place.folder(p)) for p in above)]


def tensors(content: Content) -> list[tuple[str, str, str, str]]:
    """(name, shape, dtype, parameters) of each."""
    if content.weights is None:
        return []
    return [
        (one.name, " × ".join(map(str, one.shape)) or "1", one.dtype, f"{one.parameters:,}")
        for one in content.weights.tensors
    ]


def dtypes(found: Mapping[str, int]) -> str:
    """Such as `BF16 596 M · F32 2.1 K`."""
    ordered = sorted(found.items(), key=lambda one: -one[1])
    return " · ".join(f"{name} {many(count)}" for name, count in ordered)


def many(count: float) -> str:
    """A number as people say it: 596 M, 7.6 B."""
    return _scaled(count, ("", "K", "M", "B", "T")).strip()


def size(num_bytes: float) -> str:
    """Bytes in the largest fitting unit."""
    return _scaled(num_bytes, ("B", "kB", "MB", "GB", "TB"))


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {units[-1]}"


def age(at: float, say: Say) -> str:
    """How long ago; the day where that is more than a month."""
    past = max(0.0, time.time() - at)
    if past < 60:
        return say("just_now")
    if past < 3600:
        return say("minutes_ago", count=int(past // 60))
    if past < _DAY_S:
        return say("hours_ago", count=int(past // 3600))
    if past < 30 * _DAY_S:
        return say("days_ago", count=int(past // _DAY_S))
    return time.strftime("%Y-%m-%d", time.localtime(at))


def _task(one: Repository) -> str:
    categories = one.about.card.get("task_categories")
    first = categories[0] if isinstance(categories, list) and categories else categories
    return one.about.task or (str(first) if first and one.kind == "dataset" else "")


def _without(wanted: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if value and name not in names}
