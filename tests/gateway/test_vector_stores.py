"""Files and vector stores as OpenAI's own client uses them, its answers checked by its types."""

import time

import httpx2
import openai
import pytest

from baigong.app import Platform
from baigong.gateway.doors.openai.vector_stores.rows import Attached, VectorStores
from baigong.store.files import Files
from tests.knowledge.bases import keep
from tests.servers import add_release, open_platform, serving

RETURNS = b"# Returns\n\nGoods may be returned within thirty days of delivery."
PROGRAM = b"def warranty():\n    return 'two years from the day of delivery'\n"


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Platform:
    return open_platform(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def url(platform):
    with serving(platform) as found:
        yield found


@pytest.fixture
def store(client):
    return client.vector_stores.create(name="Help desk").id


def upload(client, name="returns.md", content=RETURNS, **said):
    return client.files.create(file=(name, content), purpose="assistants", **said)


def names(page):
    return [hit.filename for hit in page.data]


def test_a_file_is_kept_as_it_was_sent(client):
    data = bytes(range(256)) * 40_000  # larger than what is held in memory
    made = upload(client, "../a\\b/所有 bytes.bin", data)
    assert (made.filename, made.bytes, made.purpose) == ("所有 bytes.bin", len(data), "assistants")
    assert client.files.retrieve(made.id) == made
    reply = client.files.content(made.id)
    assert reply.read() == data
    assert reply.response.headers["content-disposition"].startswith("attachment")
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_files_are_listed_by_purpose_and_page(client):
    made = [upload(client, f"n{i}.txt", b"x").id for i in range(5)]
    client.files.create(file=("rows.jsonl", b"{}"), purpose="fine-tune")
    newest = client.files.list(purpose="assistants", limit=2)
    assert [one.id for one in newest.data] == made[:2:-1]
    assert [one.id for one in newest][:5] == made[::-1]  # the client turns the pages itself
    oldest = client.files.list(order="asc", after=made[2], limit=10)
    assert [one.id for one in oldest.data][:2] == made[3:]


def test_a_file_expires(client, platform):
    made = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == pytest.approx(time.time() + 3600, abs=5)
    with platform.database.begin() as connection:
        connection.exec_driver_sql("UPDATE files SET expires_at = 1 WHERE id = ?", (made.id,))
    assert made.id not in [one.id for one in client.files.list()]
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"data": {"purpose": "assistants"}, "files": {"other": ("a", b"x")}}, "file"),
        ({"data": {"purpose": "world peace"}, "files": {"file": ("a", b"x")}}, "purpose"),
        ({"data": {}, "files": {"file": ("a", b"x")}}, "purpose"),
    ],
)
def test_an_upload_that_is_not_whole_is_refused_by_field(url, form, param):
    reply = httpx2.post(f"{url}/v1/files", **form)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert httpx2.post(f"{url}/v1/files", json={}).status_code == 415


def test_a_file_is_found_once_it_is_attached(client, store):
    file = upload(client)
    done = client.vector_stores.files.create_and_poll(
        vector_store_id=store, file_id=file.id, attributes={"year": 2026, "open": True, "by": "a"}
    )
    assert (done.status, done.last_error, done.usage_bytes) == ("completed", None, len(RETURNS))
    assert done.attributes == {"year": 2026, "open": True, "by": "a"}
    (hit,) = client.vector_stores.search(store, query="When may goods be returned?").data
    assert (hit.file_id, hit.filename) == (file.id, "returns.md")
    assert hit.attributes == done.attributes and 0 < hit.score < 1
    assert "thirty days" in hit.content[0].text
    text = client.vector_stores.files.content(file.id, vector_store_id=store)
    assert text.data[0].text == RETURNS.decode()
    shown = client.vector_stores.retrieve(store)
    assert (shown.file_counts.completed, shown.file_counts.total) == (1, 1)
    assert shown.usage_bytes == len(RETURNS)


def test_a_program_is_read_as_text_and_what_is_no_text_fails_with_a_reason(client, store):
    poll = client.vector_stores.files.upload_and_poll
    assert poll(vector_store_id=store, file=("warranty.py", PROGRAM)).status == "completed"
    assert names(client.vector_stores.search(store, query="two years")) == ["warranty.py"]
    bad = poll(vector_store_id=store, file=("film.bin", b"\xff\xfe\x00\x81zz"))
    assert (bad.status, bad.last_error.code) == ("failed", "unsupported_file")
    torn = poll(vector_store_id=store, file=("torn.pdf", b"%PDF-1.7 torn"))
    assert (torn.status, torn.last_error.code) == ("failed", "invalid_file")
    failed = client.vector_stores.files.list(store, filter="failed")
    assert {one.id for one in failed} == {bad.id, torn.id}


def test_a_batch_counts_its_files(client, store):
    files = [(f"note{i}.txt", f"note number{i}".encode()) for i in range(6)]
    done = client.vector_stores.file_batches.upload_and_poll(
        vector_store_id=store, files=[*files, ("empty.txt", b" ")]
    )
    assert done.status == "completed"
    counts = done.file_counts
    assert (counts.completed, counts.failed, counts.in_progress, counts.total) == (6, 1, 0, 7)
    listed = client.vector_stores.file_batches.list_files(
        done.id, vector_store_id=store, filter="completed"
    )
    assert len(list(listed)) == 6
    assert names(client.vector_stores.search(store, query="number4"))[0] == "note4.txt"
    same = client.vector_stores.file_batches.retrieve(done.id, vector_store_id=store)
    assert same.file_counts == counts


def test_a_batch_gives_each_file_its_attributes(client, store):
    one, two = upload(client, "one.txt", b"alpha words"), upload(client, "two.txt", b"beta words")
    batch = client.vector_stores.file_batches.create_and_poll(
        vector_store_id=store,
        files=[
            {"file_id": one.id, "attributes": {"lang": "en"}},
            {
                "file_id": two.id,
                "attributes": {"lang": "de"},
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50},
                },
            },
        ],
    )
    assert batch.file_counts.completed == 2
    only = {"type": "eq", "key": "lang", "value": "de"}
    assert names(client.vector_stores.search(store, query="words", filters=only)) == ["two.txt"]
    shown = client.vector_stores.files.retrieve(two.id, vector_store_id=store)
    # Chunks do not overlap here, and the reply says so.
    assert shown.chunking_strategy.static.max_chunk_size_tokens == 100
    assert shown.chunking_strategy.static.chunk_overlap_tokens == 0


def test_files_are_listed_by_pages_both_ways(client, store):
    files = [upload(client, f"n{i}.txt", f"n{i}".encode()).id for i in range(5)]
    client.vector_stores.file_batches.create_and_poll(vector_store_id=store, file_ids=files)
    list_ = client.vector_stores.files.list
    assert [one.id for one in list_(store, order="asc", limit=2)] == files
    assert [one.id for one in list_(store, limit=2).data] == files[:2:-1]
    before = list_(store, order="asc", before=files[3], limit=2)
    assert [one.id for one in before.data] == files[1:3]
    with pytest.raises(openai.BadRequestError) as caught:
        list_(store, after="file-nowhere")
    assert caught.value.param == "after"


def test_chunks_are_as_large_as_the_store_was_made_for(client, platform):
    text = "\n\n".join(f"Paragraph {i}. " + "A sentence of some words. " * 6 for i in range(40))
    sizes = {}
    for tokens in (100, 800):
        static = {"max_chunk_size_tokens": tokens, "chunk_overlap_tokens": 0}
        made = client.vector_stores.create(chunking_strategy={"type": "static", "static": static})
        client.vector_stores.files.upload_and_poll(
            vector_store_id=made.id, file=("long.txt", text.encode())
        )
        sizes[tokens] = platform.knowledge.get(made.id).chunks
    assert sizes[100] > 5 * sizes[800]


def test_other_attributes_are_searched_at_once(client, store):
    file = upload(client)
    kept = client.vector_stores.files.create_and_poll(
        vector_store_id=store, file_id=file.id, attributes={"year": 2025}
    )
    said = client.vector_stores.files.update(
        kept.id, vector_store_id=store, attributes={"year": 2026}
    )
    assert said.attributes == {"year": 2026}

    def found(year):
        only = {"type": "eq", "key": "year", "value": year}
        return names(client.vector_stores.search(store, query="goods", filters=only))

    assert (found(2025), found(2026)) == ([], ["returns.md"])


def test_a_detached_file_is_not_found_and_a_deleted_one_leaves_every_store(client, store):
    other = client.vector_stores.create(name="Other").id
    file = upload(client)
    for each in (store, other):
        client.vector_stores.files.create_and_poll(vector_store_id=each, file_id=file.id)
    client.vector_stores.files.delete(file.id, vector_store_id=store)
    assert names(client.vector_stores.search(store, query="goods")) == []
    assert names(client.vector_stores.search(other, query="goods")) == ["returns.md"]
    assert client.files.retrieve(file.id)
    client.files.delete(file.id)
    assert names(client.vector_stores.search(other, query="goods")) == []
    assert list(client.vector_stores.files.list(other)) == []


def test_stores_are_listed_changed_and_deleted(client, platform):
    made = [client.vector_stores.create(name=f"s{i}", metadata={"i": str(i)}) for i in range(3)]
    listed = [one.id for one in client.vector_stores.list(order="asc", limit=2)]
    assert [one for one in listed if one in {m.id for m in made}] == [m.id for m in made]
    changed = client.vector_stores.update(
        made[0].id,
        name="new",
        metadata={"k": "v"},
        expires_after={"anchor": "last_active_at", "days": 2},
    )
    assert (changed.name, changed.metadata) == ("new", {"k": "v"})
    assert changed.expires_at == pytest.approx(time.time() + 2 * 86400, abs=5)
    assert client.vector_stores.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(made[0].id)
    assert "s0" not in platform.knowledge.names() and "s1" in platform.knowledge.names()


def test_two_stores_may_share_a_name(client):
    one, two = (client.vector_stores.create(name="Twins") for _ in range(2))
    assert one.id != two.id and one.name == two.name
    client.vector_stores.files.upload_and_poll(vector_store_id=one.id, file=("a.txt", b"only here"))
    assert names(client.vector_stores.search(two.id, query="only here")) == []


def test_an_expired_store_answers_no_more(client, platform):
    made = client.vector_stores.create(
        name="brief", expires_after={"anchor": "last_active_at", "days": 1}
    )
    long_ago = time.time() - 3 * 86400
    VectorStores(platform.database, platform.knowledge).change(made.id, active_at=long_ago)
    assert client.vector_stores.retrieve(made.id).status == "expired"
    with pytest.raises(openai.BadRequestError, match="expired"):
        client.vector_stores.search(made.id, query="x")


def test_what_an_expired_store_held_is_cleared_out_and_it_can_be_used_anew(tmp_path):
    platform = open_platform(tmp_path)
    stores = VectorStores(platform.database, platform.knowledge)
    with serving(platform) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        (tmp_path / "own.txt").write_text("Not of the store.")
        keep(platform.knowledge, "brief", [tmp_path / "own.txt"])
        after = {"anchor": "last_active_at", "days": 1}
        brief = client.vector_stores.update("brief", expires_after=after).id
        other = client.vector_stores.create(name="lasting", expires_after=after).id
        for store in (brief, other):
            client.vector_stores.files.upload_and_poll(
                vector_store_id=store, file=("returns.md", RETURNS)
            )
        stores.change(brief, active_at=time.time() - 3 * 86400)
    platform = open_platform(tmp_path)
    with serving(platform) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        until = time.monotonic() + 20
        while platform.knowledge.get("brief").documents > 1:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.vector_stores.retrieve(brief).status == "expired"
        assert list(client.vector_stores.files.list(brief)) == []
        client.vector_stores.update(brief, expires_after=after)
        found = client.vector_stores.search(brief, query="goods returned own store")
        assert names(found) == ["own.txt"]
        assert names(client.vector_stores.search(other, query="goods")) == ["returns.md"]
        assert len(list(client.files.list())) == 2  # the uploads are their owner's


def test_many_queries_thresholds_and_limits(client, store):
    files = [("a.txt", b"The anchor holds."), ("b.txt", b"The bridge holds."), ("c.txt", b"Calm.")]
    client.vector_stores.file_batches.upload_and_poll(vector_store_id=store, files=files)
    page = client.vector_stores.search(store, query=["anchor", "bridge"], rewrite_query=True)
    assert sorted(names(page)[:2]) == ["a.txt", "b.txt"] and page.search_query == [
        "anchor",
        "bridge",
    ]
    assert len(client.vector_stores.search(store, query="holds", max_num_results=1).data) == 1
    strict = {"ranker": "auto", "score_threshold": 0.5}
    some = client.vector_stores.search(store, query="anchor", ranking_options=strict)
    assert names(some) == ["a.txt"]


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "", {"name": 3}, "name"),
        ("POST", "", {"expires_after": {"anchor": "birth", "days": 1}}, "expires_after.anchor"),
        ("POST", "", {"file_ids": ["file-none"]}, "file_id"),
        ("POST", "", {"colour": "red"}, None),
        ("POST", "/search", {"query": ""}, "query"),
        ("POST", "/search", {"query": "x", "max_num_results": 0}, "max_num_results"),
        ("POST", "/search", {"query": "x", "filters": {"type": "odd"}}, "filters.type"),
        ("POST", "/files", {"file_id": "file-none"}, "file_id"),
        ("POST", "/files", {"file_id": "f", "attributes": {"k" * 65: 1}}, "attributes"),
        ("POST", "/file_batches", {}, "file_ids"),
        ("GET", "/files?filter=odd", None, "filter"),
        ("GET", "/files?limit=0", None, "limit"),
        ("GET", "/files/file-none", None, "file_id"),
        ("GET", "/file_batches/vsfb_none", None, "batch_id"),
    ],
)
def test_what_is_wrong_is_told_by_field(url, store, method, path, body, param):
    place = f"{url}/v1/vector_stores" + (f"/{store}{path}" if path else "")
    reply = httpx2.request(method, place, json=body)
    assert reply.status_code in {400, 404}
    assert param is None or reply.json()["error"]["param"] == param


def test_a_knowledge_base_from_elsewhere_is_a_store_too(client, platform, tmp_path):
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "hours.md").write_text("# Hours\n\nOpen from nine to five.")
    keep(platform.knowledge, "handbook", [folder])
    (found,) = [one for one in client.vector_stores.list() if one.name == "handbook"]
    (hit,) = client.vector_stores.search(found.id, query="When is it open?").data
    assert (hit.file_id, hit.filename) == ("hours.md", "hours.md")
    assert client.vector_stores.retrieve("handbook").id == found.id


def test_what_a_live_release_stands_on_is_not_deleted(tmp_path):
    platform = open_platform(tmp_path)
    add_release(platform, tmp_path)
    with serving(platform) as url:
        stores = httpx2.get(f"{url}/v1/vector_stores").json()["data"]
        for path in (f"/v1/vector_stores/{stores[0]['id']}", "/api/knowledge/handbook"):
            assert httpx2.delete(url + path).status_code == 409
        assert httpx2.delete(f"{url}/api/knowledge/handbook@1").status_code == 409
        assert platform.knowledge.get("handbook@1")


def test_what_a_server_left_unfinished_the_next_one_finishes(tmp_path):
    """A row that says in_progress is all that a killed server leaves behind."""
    platform = open_platform(tmp_path)
    files = Files(platform.database, platform.blobs)
    stores = VectorStores(platform.database, platform.knowledge)
    with (tmp_path / "late.txt").open("w+b") as content:
        content.write(b"Words that arrived late.")
        content.seek(0)
        file = files.add("late.txt", "assistants", content)
    made = stores.make("left", None, platform.knowledge.ensure("x", None).chunking, {}, None)
    stores.attach([
        Attached(made.id, file.id, None, "in_progress", None, None, {}, None, time.time())
    ])
    with serving(platform) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
        done = client.vector_stores.files.poll(file.id, vector_store_id=made.id)
        assert done.status == "completed"
        assert names(client.vector_stores.search(made.id, query="late")) == ["late.txt"]


def test_a_cancelled_batch_leaves_nothing_behind(client, store, platform):
    files = [upload(client, f"c{i}.txt", f"cancelled{i} words".encode()).id for i in range(40)]
    batch = client.vector_stores.file_batches.create(vector_store_id=store, file_ids=files)
    said = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
    assert said.status == "cancelled" and said.file_counts.in_progress == 0
    counts = client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store).file_counts
    assert counts.cancelled + counts.completed == 40
    name = VectorStores(platform.database, platform.knowledge).get(store).knowledge
    deadline = time.monotonic() + 20
    while len(platform.knowledge.documents(name)) != counts.completed:
        assert time.monotonic() < deadline
        time.sleep(0.1)
