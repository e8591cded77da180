from __future__ import annotations

import json
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baigong.errors import InvalidInput, NotFound, Unreachable
from baigong.knowledge.connectors.feed import Feed
from baigong.knowledge.connectors.fetch import Fetcher
from baigong.knowledge.connectors.items import Item, read_feed
from baigong.knowledge.demo_feed import server, story
from baigong.knowledge.parse import Document, Parser
from tests.knowledge.connectors.site import HOST, Reader, WebSite

URL = "https://news.example/feed.xml"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()

RSS = """<?xml version="1.0" encoding="gb2312"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/">
<channel><title>News</title><link>https://news.example/</link>
<item><media:title>Not this</media:title><title>泵 &amp;amp; Co</title><link>/a</link>
<guid isPermaLink="false">tag-1</guid><pubDate>Wed, 25 Nov 2026 12:00:00 GMT</pubDate>
<dc:creator>Ida</dc:creator><description>short</description>
<content:encoded><![CDATA[<p>Long <b>text</b></p>]]></content:encoded></item>
<item><title>Bare</title><link>https://news.example/b</link><description>only this</description>
</item></channel></rss>""".encode("gb2312")

RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<channel rdf:about="x"><title>News</title></channel>
<item rdf:about="https://news.example/a"><title>One</title><link>https://news.example/a</link>
<description>text</description><dc:date>2026-11-25T20:00:00+08:00</dc:date></item></rdf:RDF>"""

ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><id>f</id>
<entry xml:base="https://news.example/deep/"><id>urn:uuid:1</id><title type="html">A &lt;b&gt;B&lt;/b&gt;</title>
<link rel="self" href="no"/><link href="a"/><author><name>Ida</name></author>
<author><name>Tom</name></author><updated>2026-11-25T13:00:00Z</updated>
<published>2026-11-25T12:00:00Z</published><summary>short</summary>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Long</p></div></content></entry>
<entry><id>urn:uuid:2</id><title>Two</title><updated>2026-11-25T12:00:00Z</updated>
<link href="javascript:alert(1)"/><summary>1 &lt; 2</summary></entry></feed>"""

JSON = json.dumps({
    "version": "https://jsonfeed.org/version/1.1",
    "items": [
        {
            "id": 7,
            "url": "https://news.example/a",
            "title": "One",
            "content_html": "<p>Long</p>",
            "summary": "short",
            "date_published": "2026-11-25T12:00:00Z",
            "authors": [{"name": "Ida"}],
        },
        {"id": "8", "content_text": "plain"},
    ],
}).encode()


def test_rss() -> None:
    first, second = read_feed(RSS, URL)
    assert first == Item(
        "tag-1", "泵 & Co", "https://news.example/a", "<p>Long <b>text</b></p>", True, "Ida", NOON
    )
    assert (second.id, second.body) == ("https://news.example/b", "only this")
    assert second.path == "news.example/b"


def test_rss_of_the_first_kind() -> None:
    assert read_feed(RDF, URL) == [
        Item("https://news.example/a", "One", "https://news.example/a", "text", True, "", NOON)
    ]


def test_atom() -> None:
    first, second = read_feed(ATOM, URL)
    assert (first.title, first.url, first.author, first.published_at) == (
        "A B",
        "https://news.example/deep/a",
        "Ida, Tom",
        NOON,
    )
    assert "<p>Long</p>" in first.body and first.is_html
    assert second == Item("urn:uuid:2", "Two", None, "1 < 2", False, "", NOON)


def test_json_feed() -> None:
    assert read_feed(JSON, URL) == [
        Item("7", "One", "https://news.example/a", "<p>Long</p>", True, "Ida", NOON),
        Item("8", body="plain"),
    ]


def test_mistakes_in_a_feed_are_forgiven() -> None:
    broken = b"<rss><channel><item><title>Fish & chips &nbsp; now</title><guid>1</guid></item>"
    assert [item.title for item in read_feed(broken, URL)] == ["Fish chips now"]
    bad_date = b"<rss><channel><item><guid>1</guid><pubDate>soon</pubDate></item></channel></rss>"
    assert read_feed(bad_date, URL)[0].published_at is None
    halves = b"<rss><channel><item><guid>1</guid><title>a&#55357;&#xDE00; b</title></item></channel></rss>"
    assert read_feed(halves, URL)[0].title == "a\ufffd\ufffd b"


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html><body>x</body></html>", b"{}", b"{", b'{"version": 1}', b"\xff"]
)
def test_what_is_no_feed_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="is not a feed"):
        read_feed(data, URL)


def test_entities_are_not_expanded() -> None:
    evil = (
        b'<!DOCTYPE rss [<!ENTITY a SYSTEM "file:///etc/passwd"><!ENTITY b "boom">]><rss><channel>'
        b"<item><guid>1</guid><title>x &a; &b; y</title></item></channel></rss>"
    )
    (item,) = read_feed(evil, URL)
    assert "root:" not in item.title and "boom" not in item.title


def test_names_of_entries_are_short_and_all_different() -> None:
    long = [Item("https://x.example/" + "a" * 500 + end) for end in "12"]
    assert len({item.path for item in long}) == 2 and all(len(item.path) < 220 for item in long)
    assert Item("https://x.example/a/").path == "x.example/a"
    assert Item("a\nb").path == "a\ufffdb"


def test_an_entry_is_a_document_that_the_parser_reads() -> None:
    item = Item("1", "Valves & seals", body="<p>Seal <b>A7</b> lasts two years.</p>", is_html=True)
    with Parser() as parser:
        document = parser.parse("1.html", item.document.encode())
    assert isinstance(document, Document)
    assert document.title == "Valves & seals" and "lasts two years" in document.text


def test_entries_that_change_are_read_again_and_those_that_leave_stay(
    site: WebSite, fetcher: Fetcher, tmp_path: Path
) -> None:
    def publish(**entries: str) -> None:
        rows = "".join(
            f"<item><guid>{guid}</guid><description>{text}</description></item>"
            for guid, text in entries.items()
        )
        site.put("/feed", f"<rss><channel>{rows}</channel></rss>", "application/rss+xml")

    reader = Reader()
    publish(a="one", b="two")
    assert reader.look(Feed(f"{site.url}/feed", fetcher, tmp_path)) == ["a", "b"]
    publish(b="TWO", c="three")
    assert reader.look(Feed(f"{site.url}/feed", fetcher, tmp_path)) == ["b", "c"]
    assert sorted(reader.documents) == ["a", "b", "c"]
    assert b"TWO" in reader.documents["b"].data


def test_an_unchanged_feed_is_not_sent_again_and_nothing_is_lost_by_that(
    site: WebSite, fetcher: Fetcher, tmp_path: Path
) -> None:
    site.put("/feed", RSS, "text/xml", ETag='"1"')
    Feed(f"{site.url}/feed", fetcher, tmp_path).list()  # and then the reader was killed
    reader = Reader()
    read = reader.look(Feed(f"{site.url}/feed", fetcher, tmp_path))
    assert read == ["tag-1", "news.example/b"]
    assert site.asked[1][1]["If-None-Match"] == '"1"'
    content = reader.documents["tag-1"]
    assert (content.title, content.metadata, content.published_at, content.suffix) == (
        "泵 & Co",
        {"author": "Ida"},
        NOON,
        ".html",
    )
    for kept in (tmp_path / "feeds").iterdir():
        kept.write_bytes(b"broken")
    assert reader.look(Feed(f"{site.url}/feed", fetcher, tmp_path)) == []


def test_a_feed_that_fails_says_so(site: WebSite, fetcher: Fetcher, tmp_path: Path) -> None:
    feed = Feed(f"{site.url}/feed", fetcher, tmp_path)
    with pytest.raises(NotFound, match="no feed at"):
        feed.list()
    site.put("/feed", status=503, Retry_After="999")
    with pytest.raises(Unreachable):
        feed.list()


def test_the_demo_feed_grows(tmp_path: Path, fetcher: Fetcher) -> None:
    began_at = time.time() - 10
    with server(seed=3, rate=5, port=0, began_at=began_at) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        try:
            url = f"http://{HOST}:{running.server_port}/feed.xml"
            reader = Reader()
            assert len(reader.look(Feed(url, fetcher, tmp_path))) >= 50
            while not (new := reader.look(Feed(url, fetcher, tmp_path))):
                time.sleep(0.05)
        finally:
            running.shutdown()
            thread.join()
    number = int(new[-1].rpartition("/")[2])
    told = story(3, number, began_at + number / 5)
    content = reader.documents[new[-1]]
    assert content.data.decode() == told.text
    assert (content.title, content.url) == (told.title, told.url)
    assert content.published_at == pytest.approx(told.published_at, abs=0.001)


def pieces(whole: bytes) -> st.SearchStrategy[bytes]:
    """Any order of parts of a feed, with what troubles parsers in between."""
    parts = re.split(rb"(?=[<&\"'])", whole)
    odd = [b"&#xD800;", b"&x;", b"\0", b"\xff\xfe", b"<![CDATA[", b"-->", b"xml:base='http://['"]
    return st.lists(st.sampled_from([*parts, *odd]), max_size=40).map(
        lambda chosen: whole[:60] + b"".join(chosen)
    )


@given(data=st.sampled_from([RSS, RDF, ATOM, JSON]).flatmap(pieces))
def test_broken_feeds_are_read_or_refused(data: bytes) -> None:
    try:
        items = read_feed(data, URL)
    except InvalidInput:
        return
    for item in items:
        assert item.path.encode() and item.stamp and item.document.encode() is not None


@given(data=st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    for start in (b"", b"<rss><channel><item><title>", b"{"):
        try:
            read_feed(start + data, URL)
        except InvalidInput:
            continue
