from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime

import pytest

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.knowledge.connectors.fetch import Fetcher
from baigong.knowledge.connectors.source import Content
from baigong.knowledge.connectors.web import SUFFIXES, Page, Site
from baigong.knowledge.formats import format_of
from baigong.knowledge.formats.encoding import decode
from tests.knowledge.connectors.site import Reader, WebSite

PAGE = "<html><head><title>Pumps</title></head><body><p>Stop at 85 degrees.</p></body></html>"
CHINESE = "水泵的最高工作温度是八十五度。超过时应当停机。"


def sitemap(site: WebSite, *paths: str, path: str = "/sitemap.xml", **changed: str) -> None:
    """A sitemap of these pages, with the dates that are named by what stands behind the slash."""
    rows = "".join(
        f"<url><loc>{at if '//' in at else site.url + at}</loc>"
        + (f"<lastmod>{changed[at[1:]]}</lastmod>" if at[1:] in changed else "")
        + "</url>"
        for at in paths
    )
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    site.put(path, f'<urlset xmlns="{space}">{rows}</urlset>', "application/xml")


def name(site: WebSite, path: str) -> str:
    return site.url.removeprefix("http://") + path


def read(site: WebSite, fetcher: Fetcher, path: str) -> Content:
    source = Page(site.url + path, fetcher)
    content = source.read(source.list().entries[0], None)
    assert content is not None
    return content


@pytest.mark.parametrize("header", ["ETag", "Last_Modified"])
def test_a_page_that_did_not_change_is_not_sent_again(
    site: WebSite, fetcher: Fetcher, header: str
) -> None:
    site.put("/pumps", PAGE, **{header: '"1"'})
    reader = Reader()
    assert reader.look(Page(f"{site.url}/pumps", fetcher)) == [name(site, "/pumps")]
    content = reader.documents[name(site, "/pumps")]
    assert (content.suffix, content.url) == (".html", f"{site.url}/pumps")
    assert reader.look(Page(f"{site.url}/pumps", fetcher)) == []
    site.put("/pumps", PAGE.replace("85", "90"), **{header: '"2"'})
    assert reader.look(Page(f"{site.url}/pumps", fetcher)) == [name(site, "/pumps")]
    assert b"90" in reader.documents[name(site, "/pumps")].data


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_gone_is_forgotten_and_one_that_is_down_is_not(
    site: WebSite, fetcher: Fetcher, status: int
) -> None:
    site.put("/pumps", PAGE)
    reader, source = Reader(), Page(f"{site.url}/pumps", fetcher)
    reader.look(source)
    site.put("/pumps", status=500)
    reader.look(source)
    assert "status 500" in reader.problems[name(site, "/pumps")]
    assert list(reader.documents) == [name(site, "/pumps")]
    site.put("/pumps", status=status)
    reader.look(source)
    assert reader.documents == {}


@pytest.mark.parametrize(
    ("path", "kind", "suffix"),
    [
        ("/a", "text/html; charset=utf-8", ".html"),
        ("/a.php", "application/xhtml+xml", ".html"),
        ("/a", "text/plain", ".txt"),
        ("/a.md", "text/plain", ".md"),
        ("/a", "text/markdown", ".md"),
        ("/a", "application/pdf", ".pdf"),
        ("/a.PDF", "application/octet-stream", ".pdf"),
    ],
)
def test_the_server_says_what_kind_of_file_it_is(
    site: WebSite, fetcher: Fetcher, path: str, kind: str, suffix: str
) -> None:
    site.put(path, "data", kind)
    assert read(site, fetcher, path).suffix == suffix


def test_other_kinds_are_not_read(site: WebSite, fetcher: Fetcher) -> None:
    reader = Reader()
    for kind in ("video/mp4", "application/octet-stream", "application/msword"):
        site.put("/a", b"\0", kind)
        reader.look(Page(f"{site.url}/a", fetcher))
        assert "of a kind that we do not read" in reader.problems[name(site, "/a")]


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("gb2312", CHINESE.encode("gb18030")),
        ("Big5", "水泵的最高工作溫度".encode("big5")),
        ("iso-2022-jp", "ポンプの温度".encode("iso-2022-jp")),
        ("windows-1251", "Насос".encode("cp1251")),
        ("utf-16", CHINESE.encode("utf-16-le")),
    ],
)
def test_the_charset_that_the_server_tells(
    site: WebSite, fetcher: Fetcher, charset: str, data: bytes
) -> None:
    site.put("/a.txt", data, f'text/plain; charset="{charset}"')
    usual = {"utf-16": "utf-16-le", "gb2312": "gb18030"}.get(charset, charset)
    assert decode(read(site, fetcher, "/a.txt").data) == data.decode(usual)


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "zip", "no-such", "us-ascii", "idna"])
def test_a_wrong_charset_does_no_harm(site: WebSite, fetcher: Fetcher, charset: str) -> None:
    site.put("/a.txt", CHINESE, f"text/plain; charset={charset}")
    assert decode(read(site, fetcher, "/a.txt").data) == CHINESE


def test_bytes_that_cannot_be_in_the_charset_are_left_to_the_parser(
    site: WebSite, fetcher: Fetcher
) -> None:
    for charset in ("utf-8", "iso-8859-1"):
        site.put("/a.txt", CHINESE.encode("gb18030"), f"text/plain; charset={charset}")
        assert read(site, fetcher, "/a.txt").data == CHINESE.encode("gb18030")


def test_pages_of_a_sitemap_are_read_when_it_says_that_they_changed(
    site: WebSite, fetcher: Fetcher
) -> None:
    for path in ("/one", "/two"):
        site.put(path, PAGE)
    sitemap(site, "/one", "/two", one="2026-01-05", two="2026-01-05T08:00:00+08:00")
    reader = Reader()
    url = f"{site.url}/sitemap.xml"
    both = [name(site, "/one"), name(site, "/two")]
    assert reader.look(Site(url, fetcher, is_sitemap=True)) == both
    site.asked.clear()
    assert reader.look(Site(url, fetcher, is_sitemap=True)) == []
    assert site.paths == ["/sitemap.xml", "/robots.txt"]
    sitemap(site, "/one", "/two", one="2026-01-06", two="2026-01-05T08:00:00+08:00")
    assert reader.look(Site(url, fetcher, is_sitemap=True)) == both[:1]
    sitemap(site, "/two", two="2026-01-05T08:00:00+08:00")
    assert reader.look(Site(url, fetcher, is_sitemap=True)) == []
    assert list(reader.documents) == both[1:]


def test_a_page_that_changed_today_may_change_again_today(site: WebSite, fetcher: Fetcher) -> None:
    today = datetime.now(UTC).date().isoformat()
    site.put("/one", PAGE, ETag='"1"')
    sitemap(site, "/one", one=today)
    reader, source = Reader(), Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True)
    assert len(reader.look(source)) == 1
    assert reader.look(source) == []  # asked, and not modified
    assert site.paths.count("/one") == 2
    site.put("/one", PAGE.replace("85", "90"), ETag='"2"')
    assert len(reader.look(source)) == 1


def test_a_page_found_unchanged_is_not_asked_for_again(
    site: WebSite, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("/one", PAGE, ETag='"1"')
    sitemap(site, "/one", one=datetime.now(UTC).date().isoformat())
    reader, source = Reader(), Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True)
    assert len(reader.look(source)) == 1
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3 * 86400)  # that day is over now
    for _ in range(3):
        assert reader.look(source) == []
    assert site.paths.count("/one") == 2


def test_an_index_leads_to_packed_sitemaps(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/one", PAGE)
    sitemap(site, "/one", path="/plain.xml")
    inner = f"<urlset><url><loc>{site.url}/one?a=1&amp;b=2</loc></url></urlset>".encode()
    site.put("/packed.xml.gz", gzip.compress(inner), "application/gzip")
    rows = "".join(
        f"<sitemap><loc>{site.url}/{each}</loc></sitemap>"
        for each in ("plain.xml", "packed.xml.gz", "gone.xml", "index.xml")
    )
    site.put("/index.xml", f"<sitemapindex>{rows}</sitemapindex>", "text/xml")
    listing = Site(f"{site.url}/index.xml", fetcher, is_sitemap=True).list()
    assert [entry.path for entry in listing.entries] == [
        name(site, "/one"),
        name(site, "/one?a=1&b=2"),
    ]
    assert [problem.message for problem in listing.problems] == ["is no longer there; skipped."]


def test_a_sitemap_that_unpacks_to_too_much_is_refused(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/sitemap.xml.gz", gzip.compress(bytes(60 << 20)), "application/gzip")
    with pytest.raises(InvalidInput, match="unpacks to more than 50 MB"):
        Site(f"{site.url}/sitemap.xml.gz", fetcher, is_sitemap=True).list()


def test_a_sitemap_cannot_send_us_elsewhere_or_past_robots(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /private/\n", "text/plain")
    site.put("/open", PAGE)
    sitemap(
        site, "/open", "/private/a", "https://other.example/x", "file:///etc/passwd", "ftp://x/y"
    )
    listing = Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True).list()
    assert [entry.path for entry in listing.entries] == [name(site, "/open")]
    assert sorted(problem.message for problem in listing.problems) == [
        "1 page of other sites; skipped.",
        "1 page that robots.txt closes to us; skipped.",
        "2 pages without a proper address; skipped.",
    ]


def test_a_site_that_hides_its_robots_may_be_read(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/robots.txt", status=403)
    sitemap(site, "/one")
    listing = Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True).list()
    assert [entry.path for entry in listing.entries] == [name(site, "/one")]


def test_a_site_tells_of_its_sitemaps_in_robots(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/robots.txt", f"Sitemap: {site.url}/maps/a.xml\nSitemap: /b.xml\n", "text/plain")
    sitemap(site, "/one", path="/maps/a.xml")
    sitemap(site, "/two", path="/b.xml")
    listing = Site(site.url, fetcher, is_sitemap=False).list()
    assert [entry.path for entry in listing.entries] == [name(site, "/one"), name(site, "/two")]


def test_a_site_without_robots_has_its_sitemap_at_the_usual_place_or_one_page(
    site: WebSite, fetcher: Fetcher
) -> None:
    site.put("/", PAGE)
    reader = Reader()
    assert reader.look(Site(site.url, fetcher, is_sitemap=False)) == [name(site, "")]
    assert "no sitemap" in reader.problems[f"{site.url}/"]
    sitemap(site, "/one")
    listing = Site(site.url, fetcher, is_sitemap=False).list()
    assert [entry.path for entry in listing.entries] == [name(site, "/one")]


def test_a_site_that_is_down_or_empty_forgets_nothing(site: WebSite, fetcher: Fetcher) -> None:
    site.put("/one", PAGE)
    sitemap(site, "/one")
    reader, source = Reader(), Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True)
    reader.look(source)
    site.put("/sitemap.xml", status=502)
    with pytest.raises(Unreachable):
        reader.look(source)
    site.put("/sitemap.xml", status=404)
    with pytest.raises(NotFound, match="no sitemap at"):
        reader.look(source)
    sitemap(site)
    with pytest.raises(InvalidInput, match="names no page"):
        reader.look(source)
    site.put("/sitemap.xml", PAGE)
    with pytest.raises(InvalidInput, match="is not a sitemap"):
        reader.look(source)
    assert list(reader.documents) == [name(site, "/one")]


def test_entities_in_a_sitemap_are_not_expanded(site: WebSite, fetcher: Fetcher) -> None:
    evil = (
        '<!DOCTYPE urlset [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "bbbbbbbbbb">'
        '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
        f"<urlset><url><loc>{site.url}/&a;&c;x</loc></url></urlset>"
    )
    site.put("/sitemap.xml", evil, "application/xml")
    source = Site(f"{site.url}/sitemap.xml", fetcher, is_sitemap=True)
    assert all("bbbb" not in e.path and "root" not in e.path for e in source.list().entries)


def test_names_are_readable(site: WebSite, fetcher: Fetcher) -> None:
    page = Page("https://Docs.Example:443/%E6%89%8B%E5%86%8C/a%20b/?q=1#top", fetcher)
    assert page.list().entries[0].path == "docs.example/手册/a b/?q=1"
    assert page.name == "page+https://docs.example/%E6%89%8B%E5%86%8C/a%20b/?q=1"


def test_every_kind_that_a_server_may_name_is_one_that_we_read() -> None:
    assert [kind for kind, suffix in SUFFIXES.items() if format_of(f"x{suffix}") is None] == []
