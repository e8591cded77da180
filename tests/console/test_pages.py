import html
import re
from pathlib import Path

import httpx2
import pytest

from baigong.console.pages import split
from tests.knowledge.bases import keep
from tests.servers import add_release, open_platform, serving

ENGLISH, CHINESE = {"accept-language": "en"}, {"accept-language": "zh-CN"}


def _get(url, path="/", **headers):
    return httpx2.get(url + path, headers={"accept": "text/html", **headers})


def test_the_page_shows_what_is_live_and_why(url):
    page = _get(url, **ENGLISH).text
    for wanted in (
        "Customer service",
        "support@1",
        "Better than the base model.",
        "Answers from the handbook.",
        "Accuracy on 60 held-out rows",
        "The base model alone",
        "Plain TF-IDF, no model",
        "Live before it",
        "language: zh",
        "Macro F1",
        "<polyline",
        f"base_url=&#34;{url}/v1&#34;",
        "import OpenAI from",
        "curl ",
    ):
        assert wanted in page, wanted


def test_the_page_is_chinese_for_a_chinese_browser_and_the_switch_sticks(url):
    page = _get(url, **CHINESE)
    assert "客户服务" in page.text and "比基座模型更好。" in page.text
    assert page.headers["content-language"] == "zh"
    assert 'href="/?lang=en"' in page.text
    with httpx2.Client(base_url=url, headers={"accept": "text/html", **CHINESE}) as browser:
        assert "Customer service" in browser.get("/?lang=en").text
        assert "Customer service" in browser.get("/").text


def test_text_of_releases_and_reports_is_escaped(url, tmp_path):
    page = _get(url, **ENGLISH).text
    assert "<b>0</b>" not in page and "&lt;b&gt;" in page
    evil = '"><script>alert(1)</script>'
    platform = open_platform(tmp_path)
    add_release(
        platform,
        tmp_path,
        title={"en": evil},
        description={"en": evil},
        verdict={"passed": True, "sentence": {"en": evil}},
        lineage={"recipe": evil},
    )
    with serving(platform) as there:
        page = _get(there, **ENGLISH).text
        assert evil in html.unescape(page)
        assert "<script>alert" not in page
        assert "<script>" not in _get(there, "/?release=%3Cscript%3E", **ENGLISH).text


def test_no_page_may_run_or_load_anything_foreign(url):
    for path in (
        "/",
        "/login",
        "/nothing",
        "/?release=none",
        "/knowledge",
        "/knowledge/handbook?q=goods",
    ):
        reply = _get(url, path)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|<style", reply.text)
        for address in re.findall(r'\b(?:src|href|action)="([^"]*)"', reply.text):
            assert address.startswith(("/", "#")), address


def test_every_page_names_its_json_twin(url, platform):
    knowledge = platform.knowledge.versions("handbook")[0].ref
    for path in (
        "/",
        "/knowledge",
        "/knowledge/handbook",
        f"/knowledge/{knowledge}",
        f"/knowledge/{knowledge}/returns.md",
    ):
        twin = re.search(r'application/json" href="([^"]*)"', _get(url, path).text)[1]
        assert httpx2.get(url + twin).status_code == 200


def test_a_document_opens_with_the_span_marked_and_its_markup_harmless(url, platform):
    knowledge = platform.knowledge.versions("handbook")[0].ref
    page = _get(url, f"/knowledge/{knowledge}/returns.md?span=11-64", **ENGLISH).text
    assert (
        '<mark id="passage" tabindex="-1">Goods may be returned within thirty days of delivery.'
        "</mark>" in page
    )
    assert "&lt;script&gt;document.title" in page and "<script>document" not in page
    for span in ("", "?span=x", "?span=9-3", "?span=0-99999", "?span=1", "?span=-1-5"):
        plain = _get(url, f"/knowledge/{knowledge}/returns.md{span}").text
        assert "<mark" not in plain and "thirty days" in plain
    other = _get(url, f"/knowledge/{knowledge}/zh/%E4%BF%9D%E4%BF%AE%20%E8%AF%B4%E6%98%8E.md")
    assert "家用电器保修两年" in other.text


def test_knowledge_bases_are_listed_with_what_they_hold(url, tmp_path):
    page = _get(url, "/knowledge", **ENGLISH).text
    assert '<a href="/knowledge/handbook">handbook@1</a>' in page
    assert "Last change" in page and "最近变更" in _get(url, "/knowledge", **CHINESE).text
    platform = open_platform(tmp_path)
    with serving(platform) as there:
        assert "baigong ingest" in _get(there, "/knowledge", **ENGLISH).text


def test_a_knowledge_base_shows_its_documents_and_finds_passages(url):
    page = _get(url, "/knowledge/handbook", **ENGLISH).text
    assert 'href="/knowledge/handbook/returns.md"' in page and "保修 说明.md" in page
    found = _get(url, "/knowledge/handbook?q=When+is+a+refund+paid%3F", **ENGLISH).text
    assert "<mark>A refund is paid within five working days." in found
    place = re.search(r'href="(/knowledge/handbook/returns.md\?span=\d+-\d+)#passage"', found)[1]
    assert '<mark id="passage" tabindex="-1">A refund is paid' in _get(url, place).text
    assert "No passage was found" in _get(url, "/knowledge/handbook?q=zebra", **ENGLISH).text
    evil = _get(url, "/knowledge/handbook?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", **ENGLISH)
    assert "<script>alert" not in evil.text


def test_documents_come_by_pages(tmp_path):
    platform = open_platform(tmp_path)
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(53):
        (folder / f"note {i:02}.md").write_text(f"# Note {i}\n\nWords.")
    keep(platform.knowledge, "many", [folder])
    with serving(platform) as there:
        first = _get(there, "/knowledge/many", **ENGLISH).text
        assert first.count('scope="row"') == 50
        more = html.unescape(re.search(r'href="(/knowledge/many\?after=[^"]*)"', first)[1])
        assert _get(there, more, **ENGLISH).text.count('scope="row"') == 3


def test_spans_count_bytes():
    text = "退货：三十天。"
    start = len("退货：".encode())
    assert split(text, f"{start}-{start + 9}") == ("退货：", "三十天", "。")
    assert split(text, f"{start + 1}-{start + 9}")[1] == "十天"  # never half a character


@pytest.mark.parametrize("path", ["/nothing", "/?release=none", "/knowledge/x", "/knowledge/x/y"])
def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(url, path):
    page = _get(url, path, **ENGLISH)
    assert page.status_code == 404
    assert "That did not work" in page.text
    if path == "/nothing":
        assert httpx2.get(url + path).json()["error"]["code"] == "unknown_url"


def test_with_nothing_live_the_page_says_what_to_type(tmp_path):
    platform = open_platform(tmp_path)
    add_release(platform, tmp_path, verdict={"passed": False, "sentence": {"en": "worse"}})
    with serving(platform) as there:
        page = _get(there, **ENGLISH).text
        assert "baigong build" in page and "tests/tiny" in page
        assert "support@1" in page and "refused by its gate" in page
        chosen = _get(there, "/?release=support@1", **ENGLISH).text
        assert "worse" in chosen and 'id="ask"' not in chosen


def test_static_files_are_ours_alone(url):
    for name in ("console.css", "console.js", "seal.svg"):
        assert httpx2.get(f"{url}/static/{name}").status_code == 200
    for path in ("/static/../pages.py", "/static/%2e%2e/pages.py", "/static/none"):
        assert httpx2.get(url + path).status_code == 404
    folder = Path(split.__code__.co_filename).parent / "static"
    for file in folder.iterdir():
        addresses = re.findall(r"https?://[^\s\"')]+", file.read_text("utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file.name
