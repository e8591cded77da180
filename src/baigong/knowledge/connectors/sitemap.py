"""Sitemaps and robots.txt: which pages a site has, when they changed, and which we may read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from urllib.robotparser import RobotFileParser

import httpx2
import msgspec

from baigong.errors import InvalidInput, NotFound, Problem
from baigong.knowledge.connectors.fetch import AGENT, Fetcher, read_url
from baigong.knowledge.connectors.markup import kind_of, root_of
from baigong.knowledge.connectors.unpack import Torn, unpack

ROOTS = {"urlset", "sitemapindex"}  # the root elements

_MAX_BYTES = 50 << 20  # the protocol's own bound for one sitemap
_MAX_SITEMAPS = 500
_MAX_LOCATIONS = 100_000
_ROBOTS_BYTES = 512 << 10
_LONGEST_DELAY_S = 10.0


class Location(msgspec.Struct, frozen=True):
    """A page; `changed` is when it was, where the sitemap says and a later change would tell."""

    url: str
    changed: str | None = None


class Sitemaps:
    """The sitemaps of one site, read once."""

    def __init__(self, fetcher: Fetcher, url: str) -> None:
        self.problems: list[Problem] = []
        self._fetcher = fetcher
        self._url = read_url(url)
        self._robots: dict[str, RobotFileParser] = {}

    def discover(self) -> list[Location]:
        """The pages that the site tells of; where it has no sitemap, its front page alone."""
        robots = self._robots_of(self._url)
        usual = str(self._url.join("/sitemap.xml"))
        named = [str(self._url.join(each)) for each in robots.site_maps() or ()]
        try:
            return self.read(named or [usual])
        except NotFound:
            if named:
                raise
        self.problems.append(
            Problem(str(self._url), None, "", "has no sitemap; only its front page is read.")
        )
        return [Location(str(self._url))]

    def read(self, urls: Sequence[str]) -> list[Location]:
        """The pages of these sitemaps and of those that they name.

        Raises:
            NotFound: none of `urls` is there.
            InvalidInput: they are no sitemaps, or name no page.
            Unreachable: one cannot be fetched now.
        """
        waiting, seen, locations = list(urls), set(urls), list[Location]()
        missing = 0
        while waiting and len(locations) < _MAX_LOCATIONS:
            url = waiting.pop(0)
            data = self._load(url)
            if data is None:
                missing += 1
                self.problems.append(Problem(url, None, "", "is no longer there; skipped."))
                continue
            for location, is_sitemap in _read(url, data):
                if not is_sitemap:
                    locations.append(location)
                elif location.url not in seen and len(seen) < _MAX_SITEMAPS:
                    seen.add(location.url)
                    waiting.append(location.url)
        if missing == len(seen):
            raise NotFound(
                f"There is no sitemap at {urls[0]}.",
                hint="Open the address in a browser, or look into the site's robots.txt.",
                param="sources",
            )
        if not locations:  # rather a mishap of the site than its end
            raise InvalidInput(
                f"The sitemap {urls[0]} names no page.",
                hint="Check it in a browser; what was read before is kept.",
                param="sources",
            )
        return locations

    def against(self, url: str) -> str | None:
        """Why a page is not to be read, if so."""
        try:
            location = read_url(url)
        except InvalidInput:
            return "without a proper address"
        if _site(location.host) != _site(self._url.host):
            return "of other sites"
        if not self._robots_of(location).can_fetch(AGENT, url):
            return "that robots.txt closes to us"
        return None

    def _load(self, url: str) -> bytes | None:
        response = self._fetcher.get(url, most=_MAX_BYTES)
        if response.is_gone:
            return None
        if not response.data.startswith(b"\x1f\x8b"):
            return response.data
        try:
            data = b"".join(unpack([response.data], _MAX_BYTES + 1))
        except Torn as error:
            raise _no_sitemap(url) from error
        if len(data) > _MAX_BYTES:
            raise InvalidInput(
                f"The sitemap {url} unpacks to more than {_MAX_BYTES >> 20} MB.",
                hint="The protocol allows no larger ones; tell whoever runs that site.",
                param="sources",
            )
        return data

    def _robots_of(self, url: httpx2.URL) -> RobotFileParser:
        where = str(url.join("/robots.txt"))
        robots = self._robots.get(where)
        if robots is None:
            robots = self._robots[where] = RobotFileParser()
            robots.parse(self._rules(where))
            delay = robots.crawl_delay(AGENT)
            if delay is not None:
                self._fetcher.slow_down(url.host, min(float(delay), _LONGEST_DELAY_S))
        return robots

    def _rules(self, where: str) -> list[str]:
        """The lines of a robots.txt; none where a server does not show one."""
        try:
            response = self._fetcher.get(where, most=_ROBOTS_BYTES, head_only=True)
        except InvalidInput:
            return []
        return [] if response.is_gone else response.data.decode("utf-8", "replace").splitlines()


def _is_settled(changed: str) -> bool:
    """Whether a change after now would bear another date than `changed`.

    A day without a time is over only when it is over everywhere on Earth.
    """
    try:
        moment = datetime.fromisoformat(changed)
    except ValueError:
        return False
    step = timedelta(days=1.5) if len(changed) <= len("2026-11-25") else timedelta(minutes=1)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment + step).timestamp() < time.time()


def _read(url: str, data: bytes) -> Iterator[tuple[Location, bool]]:
    """(location, whether it is another sitemap) for all that one sitemap names."""
    root = root_of(data)
    kind = kind_of(root)
    if root is None or kind not in ROOTS:
        raise _no_sitemap(url)
    for child in root:
        told = {kind_of(each): (each.text or "").strip() for each in child}
        where = told.get("loc", "")
        if where:
            changed = told.get("lastmod", "")
            location = Location(_absolute(url, where), changed if _is_settled(changed) else None)
            yield location, kind == "sitemapindex"


def _absolute(url: str, where: str) -> str:
    try:
        return str(httpx2.URL(url).join(where).copy_with(fragment=None))
    except (httpx2.InvalidURL, ValueError):
        return where


def _site(host: str) -> str:
    return host.lower().removeprefix("www.")


def _no_sitemap(url: str) -> InvalidInput:
    return InvalidInput(
        f"{url} is not a sitemap.",
        hint="Give the address of an XML sitemap, or that of the site's front page.",
        param="sources",
    )
