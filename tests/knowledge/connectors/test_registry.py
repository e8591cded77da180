from __future__ import annotations

from pathlib import Path

import pytest

from baigong.errors import InvalidInput, Unreachable
from baigong.knowledge.connectors.feed import Feed
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.connectors.git import Repository
from baigong.knowledge.connectors.registry import open_source
from baigong.knowledge.connectors.s3 import Bucket
from baigong.knowledge.connectors.source import Source
from baigong.knowledge.connectors.web import Page, Site
from tests.knowledge.connectors.site import HOST, WebSite

ATOM = '<?xml version="1.0"?>\n<feed xmlns="http://www.w3.org/2005/Atom"></feed>'
MAP = "<urlset><url><loc>/a</loc></url></urlset>"


def test_what_is_told_by_its_look(tmp_path: Path) -> None:
    kinds: dict[str, type[Source]] = {
        ".": Folder,
        "docs": Folder,
        "./docs/manual.pdf": Folder,
        "/docs": Folder,
        "~/docs": Folder,
        "说明 书": Folder,
        "s3://bucket/docs": Bucket,
        "git+https://x.example/a/b": Repository,
        "https://x.example/a/b.git": Repository,
        "https://x.example/a/b.git//docs#main": Repository,
        "./mirror.git": Repository,
        "feed+https://x.example/new": Feed,
        "sitemap+https://x.example/map": Site,
        "page+https://x.example/": Page,
        "https://x.example": Site,
        "https://x.example/": Site,
        "https://x.example/manual.pdf": Page,
        "HTTPS://X.example/guide.html": Page,
    }
    for text, kind in kinds.items():
        source = open_source(f" {text}\n", cache=tmp_path)
        assert type(source) is kind, text
        again = open_source(source.name, cache=tmp_path)
        assert (type(again), again.name) == (kind, source.name)


@pytest.mark.parametrize(
    ("body", "kind", "is_a"),
    [
        (ATOM, "application/atom+xml", Feed),
        (ATOM, "text/plain", Feed),
        ("<rss version='2.0'><channel></channel></rss>", "text/xml", Feed),
        ('{"version": "https://jsonfeed.org/version/1.1", "items": []}', "application/json", Feed),
        ('<?xml version="1.0"?><rss><channel><item><description><![CDATA[<html>]]>', "a/b", Feed),
        (MAP, "application/xml", Site),
        ("<!-- made -->\n<sitemapindex></sitemapindex>", "application/xml", Site),
        ("<html><body>about &lt;rss> and feeds</body></html>", "text/html", Page),
        ("plain", "text/plain", Page),
    ],
)
def test_what_is_told_by_what_comes_back_once(
    site: WebSite, tmp_path: Path, body: str, kind: str, is_a: type[Source]
) -> None:
    site.put("/thing", body, kind)
    source = open_source(f"{site.url}/thing#top", cache=tmp_path, allow=[HOST])
    assert type(source) is is_a
    assert site.paths == ["/thing"]
    again = open_source(source.name, cache=tmp_path, allow=[HOST])
    assert (type(again), again.name) == (is_a, source.name)
    assert site.paths == ["/thing"]


def test_private_hosts_need_to_be_allowed(site: WebSite, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a public address"):
        open_source(f"{site.url}/thing", cache=tmp_path)
    with pytest.raises(InvalidInput, match="nothing at"):
        open_source(f"{site.url}/thing", cache=tmp_path, allow=[HOST])
    site.put("/thing", status=500)
    with pytest.raises(Unreachable):
        open_source(f"{site.url}/thing", cache=tmp_path, allow=[HOST])


@pytest.mark.parametrize("text", ["", "  ", "ftp://x.example/", "git+ssh://x/y", "gs://bucket/x"])
def test_other_texts_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        open_source(text, cache=tmp_path)
