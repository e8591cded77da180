"""Which connector reads what a person typed: a row for each kind, told by how it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import httpx2
import msgspec

from baigong.errors import InvalidInput
from baigong.knowledge.connectors import items, sitemap
from baigong.knowledge.connectors.feed import Feed
from baigong.knowledge.connectors.fetch import Fetcher, read_url, shown
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.connectors.git import Repository, read_place
from baigong.knowledge.connectors.markup import kind_of, root_of
from baigong.knowledge.connectors.s3 import Bucket
from baigong.knowledge.connectors.source import Source
from baigong.knowledge.connectors.unpack import Torn, unpack
from baigong.knowledge.connectors.web import Page, Site
from baigong.knowledge.formats import format_of

_GLANCE_BYTES = 64 << 10


class Kind(msgspec.Struct, frozen=True):
    """A row: the first one whose `looks` matches the beginning of the text opens it.

    Attributes:
        open: given the text, a folder to keep things in, and the private hosts that are allowed.
    """

    looks: str
    open: Callable[[str, Path, tuple[str, ...]], Source]


KINDS = (
    Kind(
        r"git\+|https://[^#?]+\.git(//|#|/?$)|[^:]+\.git(//|#|/?$)",
        lambda text, cache, allow: Repository(read_place(text), cache, allow),
    ),
    Kind(r"s3://", lambda text, cache, allow: Bucket(text)),
    Kind(r"feed\+", lambda text, cache, allow: Feed(_behind(text), Fetcher(allow), cache)),
    Kind(
        r"sitemap\+",
        lambda text, cache, allow: Site(_behind(text), Fetcher(allow), is_sitemap=True),
    ),
    Kind(
        r"site\+", lambda text, cache, allow: Site(_behind(text), Fetcher(allow), is_sitemap=False)
    ),
    Kind(r"page\+", lambda text, cache, allow: Page(_behind(text), Fetcher(allow))),
    Kind(r"https?://", lambda text, cache, allow: _look(text, cache, allow)),
    Kind(r"(?!\w[\w+.-]+://)", lambda text, cache, allow: Folder(Path(text))),
)


def open_source(text: str, *, cache: Path, allow: Sequence[str] = ()) -> Source:
    """The source that a text stands for; its `name` is the one text for all that mean the same.

    | text | is |
    |---|---|
    | `./folder`, `/path/file.pdf` | files as they are on disk |
    | `https://x/` or `site+https://x/` | a site: the pages that its sitemaps name |
    | `https://x/page`, `https://x/sitemap.xml`, `https://x/feed` | what is there decides, once |
    | `page+https://…`, `sitemap+https://…`, `feed+https://…` | the same, decided |
    | `s3://bucket/prefix` | objects |
    | `git+https://…//folder#branch`, `./name.git` | a branch of a repository |

    Args:
        cache: a folder for what would otherwise be fetched again; it may be emptied at any time.
        allow: hosts that may be private ones, e.g. `wiki.intra`.

    Raises:
        InvalidInput: it stands for nothing that we read.
        Unreachable: what it stands for has to be looked up, and does not answer.
    """
    typed = text.strip()
    for kind in KINDS:
        if typed and re.match(kind.looks, typed, re.IGNORECASE):
            return kind.open(typed, cache, tuple(allow))
    raise InvalidInput(
        f"'{shown(typed)[:200]}' is no source that can be read.",
        hint="Give a folder or file, or an address that begins with https://, s3:// or git+https://.",
        param="sources",
    )


def _behind(text: str) -> str:
    return text.partition("+")[2]


def _look(text: str, cache: Path, allow: tuple[str, ...]) -> Source:
    """A web address: a site, a page, a feed or a sitemap."""
    url, fetcher = read_url(text), Fetcher(allow)
    if url.path == "/" and not url.query:
        return Site(str(url), fetcher, is_sitemap=False)
    suffix = PurePosixPath(url.path).suffix.lower()
    if suffix and format_of(f"x{suffix}") is not None and suffix not in {".xml", ".json"}:
        return Page(str(url), fetcher)
    start = _glance(url, fetcher)
    kind = kind_of(root_of(start))
    if kind in sitemap.ROOTS:
        return Site(str(url), fetcher, is_sitemap=True)
    if kind in items.ROOTS or (start.lstrip().startswith(b"{") and items.JSON_VERSION in start):
        return Feed(str(url), fetcher, cache)
    return Page(str(url), fetcher)


def _glance(url: httpx2.URL, fetcher: Fetcher) -> bytes:
    """The first bytes of what is there."""
    response = fetcher.get(str(url), most=_GLANCE_BYTES, head_only=True)
    if response.is_gone:
        raise InvalidInput(
            f"There is nothing at {response.url}: status {response.status}.",
            hint="Check the address in a browser.",
            param="sources",
        )
    if not response.data.startswith(b"\x1f\x8b"):
        return response.data
    found = b""
    try:
        for piece in unpack([response.data], _GLANCE_BYTES):
            found += piece
    except Torn:  # cut off by us
        return found
    return found
