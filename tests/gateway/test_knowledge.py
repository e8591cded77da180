"""Knowledge bases over `/api`, as any program would use them."""

import base64
import json
import threading
import time

import httpx2
import pytest

from baigong.app import Platform
from baigong.errors import InvalidInput
from baigong.gateway.keys import Keys
from baigong.gateway.sources import allowed
from tests.servers import open_platform, serving

JSON_LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("living")


@pytest.fixture(scope="module")
def platform(home) -> Platform:
    (home / "open").mkdir()
    (home / "open" / "guide.md").write_text("# Guide\n\nThe crane lifts nine tonnes.")
    (home / "closed").mkdir()
    (home / "closed" / "secret.md").write_text("# Secret\n\nThe vault's number is 4711.")
    return open_platform(home, source_places=(str(home / "open"),))


@pytest.fixture(scope="module")
def url(platform):
    with serving(platform) as found:
        yield f"{found}/api/knowledge"


@pytest.fixture
def base(url, request):
    """The address of a knowledge base of the test's own."""
    name = f"b-{abs(hash(request.node.name)) % 10**8}"
    reply = httpx2.post(url, json={"name": name, "embedder": "none"})
    assert reply.status_code == 201
    return f"{url}/{name}"


def push(base, **document):
    return httpx2.post(f"{base}/documents", json=document)


def search(base, question, **said):
    reply = httpx2.post(f"{base}/search", json={"question": question, **said})
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def test_a_base_is_made_listed_described_and_deleted(url, base):
    name = base.rpartition("/")[2]
    assert name in [each["name"] for each in httpx2.get(url).json()["data"]]
    shown = httpx2.get(base).json()
    assert (shown["documents"], shown["chunks"], shown["embedder"]) == (0, 0, None)
    again = {"name": name, "embedder": "none"}
    assert httpx2.post(url, json=again).status_code == 201
    for other in ({"name": name}, {**again, "chunking": {"characters": 500}}):
        assert httpx2.post(url, json=other).status_code == 409
    assert httpx2.delete(base).json() == {"name": name, "deleted": True}
    assert httpx2.get(base).status_code == 404
    assert push(base, path="a", text="words").status_code == 404


def test_a_base_has_the_packaged_embedder_where_nobody_says(url):
    made = httpx2.post(url, json={"name": "near"}).json()
    assert made["embedder"].startswith("baigong/")
    push(f"{url}/near", path="a", text="A physician examined the patient.")
    (hit,) = search(f"{url}/near", "doctor")
    assert hit["document"] == "a"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"name": "a/b"}, "name"),
        ({}, "name"),
        ({"name": "x", "embedder": "no/such"}, None),
        ({"name": "x", "chunking": {"characters": 1}}, "chunking.characters"),
        ({"name": "x", "size": 3}, None),
    ],
)
def test_a_base_that_cannot_be_is_refused(url, wrong, param):
    reply = httpx2.post(url, json=wrong)
    assert reply.status_code in {400, 404}
    assert reply.json()["error"]["param"] == param or param is None


def test_each_way_to_say_a_content(base):
    for document in (
        {"path": "t", "text": "A plain text on alders."},
        {"path": "m", "markdown": "# Trees\n\nMarkdown on birches."},
        {"path": "h.pdf", "html": "<html><body><p>A page about cedars and more.</p></body></html>"},
        {"path": "d", "data": base64.b64encode("字节里的桂树".encode()).decode(), "suffix": ".txt"},
    ):
        reply = push(base, **document)
        assert reply.status_code == 200, reply.text
        assert reply.json()["state"] == "added"
    for word, path in (("alders", "t"), ("birches", "m"), ("cedars", "h.pdf"), ("桂树", "d")):
        (hit,) = search(base, word)
        assert hit["document"] == path


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"text": "no path"}, "path"),
        ({"path": "a"}, "text"),
        ({"path": "a", "text": "x", "html": "y"}, "text"),
        ({"path": "a", "data": "!!"}, "data"),
        ({"path": "a", "data": "AAAA", "suffix": ".exe"}, "suffix"),
        ({"path": "a", "text": "  "}, "document"),
        ({"path": "a", "text": "x", "published_at": "yesterday"}, "published_at"),
        ({"path": "a", "text": "x", "metadata": {"k": [1]}}, "metadata"),
        ({"path": "a\u0000b", "text": "x"}, "path"),
    ],
)
def test_a_document_that_cannot_be_is_refused_by_field(base, wrong, param):
    reply = push(base, **wrong)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_searching_narrows_by_metadata_readers_and_time(base):
    for path, day, team, access in (
        ("spring", "2026-03-01", "north", None),
        ("summer", "2026-07-01T00:00:00Z", "south", ["anna"]),
    ):
        said = {"published_at": day, "metadata": {"team": team, "n": 3}, "access": access}
        push(
            base,
            path=path,
            text=f"The {path} report on turbines.",
            url="https://x.example/",
            **said,
        )

    def found(**said):
        return sorted(hit["document"] for hit in search(base, "report turbines", **said))

    assert found() == ["spring", "summer"]
    assert found(filters={"type": "eq", "key": "team", "value": "south"}) == ["summer"]
    assert found(filters={"type": "gte", "key": "n", "value": 3}) == ["spring", "summer"]
    assert found(readers=[]) == ["spring"]
    assert found(readers=["anna"]) == ["spring", "summer"]
    assert found(as_of="2026-05-01") == ["spring"]
    (first, second) = search(base, "report turbines", fresh_days=30, as_of="2026-07-02")
    assert (first["document"], second["document"]) == ("summer", "spring")
    assert first["url"] == "https://x.example/"
    wrong = {"question": "x", "filters": {"type": "like"}}
    reply = httpx2.post(f"{base}/search", json=wrong)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "filters.type")


def test_a_passage_says_where_its_quote_is_and_the_page_opens_there(url, base):
    text = "# 说明\n\n水泵每周检查一次。The pump is checked each week.\n\nNothing else matters."
    push(base, path="泵/pump.md", markdown=text)
    (hit,) = search(base, "How often is the pump checked?")
    whole = httpx2.get(f"{base}/{hit['document']}").json()["text"].encode()
    assert whole[hit["quote_start"] : hit["quote_end"]].decode() == hit["quote"]
    assert "The pump is checked each week." in hit["quote"]
    page = httpx2.get(url.removesuffix("/api/knowledge") + hit["page_url"])
    assert page.status_code == 200
    assert '<mark id="passage"' in page.text and "checked each week" in page.text


def test_documents_come_by_pages(base):
    for i in range(5):
        push(base, path=f"n{i}", text=f"number {i}")
    first = httpx2.get(f"{base}/documents", params={"limit": 3}).json()
    assert [one["path"] for one in first["data"]] == ["n0", "n1", "n2"]
    second = httpx2.get(f"{base}/documents", params={"limit": 3, "after": first["next"]}).json()
    assert [one["path"] for one in second["data"]] == ["n3", "n4"]
    assert second["next"] is None
    assert httpx2.get(f"{base}/documents", params={"limit": "many"}).status_code == 400


def test_versions_are_kept_and_a_withdrawn_document_leaves_them_all(base):
    push(base, path="a/b", text="The recipe for glue.")
    kept = httpx2.post(f"{base}/versions").json()
    push(base, path="a/b", text="The recipe for paint.")
    versions = httpx2.get(f"{base}/versions").json()["data"]
    assert [each["is_pinned"] for each in versions] == [False, True]
    old = f"{base}@{kept['number']}"
    assert [hit["document"] for hit in search(old, "glue")] == ["a/b"]
    assert httpx2.delete(f"{base}/documents/a/b").status_code == 200
    assert search(old, "glue") == [] and search(base, "paint") == []
    assert httpx2.delete(f"{base}/documents/a/b").status_code == 404
    assert httpx2.delete(old).status_code == 200
    assert httpx2.get(old).status_code == 404


def test_a_document_called_like_an_address_is_read_under_its_version(base):
    push(base, path="documents", text="A document of this name.")
    ref = httpx2.get(base).json()["ref"]
    assert (
        httpx2.get(f"{base.rpartition('/')[0]}/{ref}/documents").json()["text"].startswith("A doc")
    )


def test_lines_are_answered_one_by_one_in_their_order(base):
    sent = [{"path": f"n{i}", "text": f"line number{i}"} for i in range(300)]
    sent[7] = {"path": "bad"}
    lines = [json.dumps(each) for each in sent]
    lines[9] = "{broken"
    lines += ["", json.dumps({"path": "n3", "delete": True})]
    reply = httpx2.post(
        f"{base}/documents", content="\n".join(lines), headers=JSON_LINES, timeout=60
    )
    answers = [json.loads(line) for line in reply.text.splitlines()]
    assert [one["line"] for one in answers] == [*range(1, 301), 302]
    assert answers[7]["error"]["param"] == "text" and "JSON" in answers[9]["error"]["message"]
    assert {one["state"] for one in answers if "state" in one} == {"added", "removed"}
    assert [hit["document"] for hit in search(base, "number299")] == ["n299"]
    assert search(base, "number3") == []


def test_a_line_is_answered_while_the_request_is_still_being_sent(base):
    """A sender that keeps one request open for long, as a bridge from a queue does."""
    go_on, got = threading.Event(), []

    def sending():
        yield json.dumps({"path": "first", "text": "the earliest of words"}).encode() + b"\n"
        assert go_on.wait(20)
        yield json.dumps({"path": "second", "text": "the latest of words"}).encode()

    watcher = threading.Thread(
        target=lambda: (_await(lambda: search(base, "earliest")), go_on.set())
    )
    watcher.start()
    with httpx2.stream("POST", f"{base}/documents", content=sending(), headers=JSON_LINES) as reply:
        got = [json.loads(line) for line in reply.iter_lines()]
    watcher.join()
    assert [one["path"] for one in got] == ["first", "second"]


def test_a_line_that_is_too_long_ends_the_stream_with_a_word(base, monkeypatch):
    from baigong.gateway import pushing

    monkeypatch.setattr(pushing.lines, "__defaults__", (1000,))
    content = b'{"path": "a", "text": "short"}\n' + b'{"path": "b", "text": "' + b"x" * 5000
    reply = httpx2.post(f"{base}/documents", content=content, headers=JSON_LINES)
    answers = [json.loads(line) for line in reply.text.splitlines()]
    assert answers[0]["state"] == "added"
    assert answers[1]["error"]["code"] == "request_too_large"


def test_a_source_is_read_by_a_job(base, home, url):
    reply = httpx2.post(f"{base}/sources", json={"sources": [str(home / "open")]})
    assert reply.status_code == 202
    job = reply.json()["job"]
    jobs = url.replace("/knowledge", f"/jobs/{job}")
    _await(lambda: httpx2.get(jobs).json()["state"] == "done")
    (step,) = httpx2.get(jobs).json()["steps"]
    assert step["output"]["added"] == 1 and step["output"]["problems"] == []
    assert [hit["document"] for hit in search(base, "crane tonnes")] == ["guide.md"]


def test_the_servers_disk_and_its_network_are_closed_to_callers(base, home, platform):
    for source in (
        str(home / "closed"),
        f"{home}/open/../closed",
        "/etc/passwd",
        "~/.ssh",
        ".",
        f"{home}/closed/x.git",
        f"git+file://{home}/closed",
        f"git+{home}/closed",
        "git+ssh://host/x",
        "git@host:x.git",
        "s3://bucket/private",
        "file:///etc/passwd",
        f"{home}/openly",
        "",
    ):
        reply = httpx2.post(f"{base}/sources", json={"sources": [source]})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "sources"), source
    reply = httpx2.post(f"{base}/sources", json={"sources": ["page+http://127.0.0.1:1/x"]})
    job = reply.json()["job"]
    _await(lambda: platform.jobs.get(job).state != "running")
    assert (
        platform.jobs.get(job).state == "failed" or platform.jobs.steps(job)[0].output["problems"]
    )
    assert search(base, "vault number") == []


def test_a_link_does_not_lead_out_of_a_place(home, tmp_path):
    (home / "open" / "way-out").symlink_to(home / "closed")
    try:
        with pytest.raises(InvalidInput):
            allowed(str(home / "open" / "way-out"), (str(home / "open"),))
    finally:
        (home / "open" / "way-out").unlink()
    assert allowed("s3://b/docs/x", ("s3://b/docs",)) == "s3://b/docs/x"
    with pytest.raises(InvalidInput):
        allowed("s3://b/docs-secret", ("s3://b/docs",))


def test_all_of_it_asks_for_a_key(tmp_path):
    platform = open_platform(tmp_path)
    platform.knowledge.ensure("notes", None)
    Keys(platform.database, platform.secret).create("someone")
    with serving(platform) as there:
        base = f"{there}/api/knowledge/notes"
        assert httpx2.get(base).status_code == 401
        assert push(base, path="a", text="x").status_code == 401
        lines = httpx2.post(f"{base}/documents", content=b"{}", headers=JSON_LINES)
        assert lines.status_code == 401
        assert httpx2.delete(base).status_code == 401


def _await(holds, seconds=20.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
