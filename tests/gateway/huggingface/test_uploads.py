"""Large files through Hugging Face's client: by Xet, by git-lfs, again, wrongly, and interrupted."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import disable_progress_bars

from tests.gateway.huggingface.counted import counted
from tests.hub.xorbs import chunk, file, named, sha, shard

# The client's way of sending streams is old to the library below it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
rng = random.Random(5)
RANDOM = rng.randbytes(6_000_000)
FLOATS = b"".join(rng.randbytes(2) + b"\x80\x3f" for _ in range(300_000))
TEXT = "".join(f"Line {n} says {n * n}.\n" for n in range(100_000)).encode()
CONTENTS = {"random": RANDOM, "floats": FLOATS, "text": TEXT, "empty": b"", "byte": b"\1"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    disable_progress_bars()
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))


@pytest.fixture
def hub(served):
    return served.platform.hub


@pytest.fixture
def way(served):
    with counted(served.url) as way:
        yield way


@pytest.fixture
def api(served, way):
    """Alice's client, whose bytes are counted."""
    return HfApi(endpoint=f"{way.url}/hf", token=served.tokens["alice"])


def stored(api, name, path, folder, **kwargs):
    return Path(api.hf_hub_download(name, path, local_dir=folder, **kwargs)).read_bytes()


def put(api, name, content, path="weights.onnx", **kwargs):
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=name, **kwargs)


def edited(data, share=0.01):
    """The same with a part of it, in one place, changed."""
    at, size = len(data) // 3, int(len(data) * share)
    return data[:at] + random.Random(1).randbytes(size) + data[at + size :]


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_comes_back_as_it_was_sent(alice, make, hub, tmp_path, content):
    name = make()
    put(alice, name, content)
    [info] = alice.get_paths_info(name, ["weights.onnx"])
    assert info.size == len(content)
    assert hub.blobs.has(sha(content))
    assert stored(alice, name, "weights.onnx", tmp_path) == content
    assert list(hub.aside.all()) == []


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_other_kinds_take_large_files_too(alice, make, tmp_path, kind):
    name = make(kind=kind)
    put(alice, name, FLOATS, repo_type=kind)
    put(alice, name, io.BytesIO(TEXT), "other.onnx", repo_type=kind)
    assert stored(alice, name, "weights.onnx", tmp_path, repo_type=kind) == FLOATS
    assert stored(alice, name, "other.onnx", tmp_path, repo_type=kind) == TEXT


def test_a_folder_of_large_files(alice, make, hub, tmp_path):
    name = make()
    for number, content in enumerate(CONTENTS.values()):
        (tmp_path / f"{number}.onnx").write_bytes(content * 2)
    alice.upload_folder(repo_id=name, folder_path=tmp_path, allow_patterns="*.onnx")
    for number, content in enumerate(CONTENTS.values()):
        assert stored(alice, name, f"{number}.onnx", tmp_path / "back") == content * 2
    assert list(hub.aside.all()) == []


def test_an_edited_file_sends_what_has_changed(api, way, make, hub, tmp_path):
    name, data = make(), rng.randbytes(20_000_000)
    put(api, name, data)
    assert way.sent > len(data)
    assert list(hub.aside.all()) == []
    way.sent = 0
    put(api, name, edited(data))
    assert way.sent < 0.05 * len(data)
    assert stored(api, name, "weights.onnx", tmp_path) == edited(data)


def test_the_same_file_elsewhere_is_not_sent_again(api, way, make, tmp_path):
    put(api, make(), RANDOM)
    name, way.sent = make(), 0
    put(api, name, RANDOM)
    assert way.sent < 100_000
    assert stored(api, name, "weights.onnx", tmp_path) == RANDOM


def test_an_upload_after_its_chunks_were_collected(api, way, make, hub, tmp_path):
    name, data = make(), rng.randbytes(3_000_000)
    put(api, name, data)
    hub.xorbs.forget([sha(data)])
    hub.blobs.delete(sha(data))
    way.sent = 0
    put(api, name, edited(data), "again.onnx")
    assert way.sent > len(data)
    assert stored(api, name, "again.onnx", tmp_path) == edited(data)


def test_an_upload_after_chunks_were_lost_fails_once(api, make, hub, tmp_path):
    name, data = make(), rng.randbytes(3_000_000)
    put(api, name, data)
    hub.blobs.delete(sha(data))
    with pytest.raises(Exception, match="Run the same upload again"):
        put(api, name, edited(data), "again.onnx")
    put(api, name, edited(data), "again.onnx")
    assert stored(api, name, "again.onnx", tmp_path) == edited(data)


def test_a_wrong_sha256_is_refused(alice, make, hub):
    name, data = make(), rng.randbytes(100_000)
    for content in (data, io.BytesIO(data)):
        wrong = CommitOperationAdd("weights.onnx", content)
        wrong.upload_info.sha256 = bytes(32)
        with pytest.raises(Exception, match=r"sha256|Error while uploading"):
            alice.create_commit(name, [wrong], commit_message="Not what it says")
    assert not alice.file_exists(name, "weights.onnx")
    assert not hub.blobs.has("0" * 64)
    assert not hub.blobs.has(sha(data))


def test_a_stream_goes_by_lfs_once(api, way, make, hub, tmp_path):
    name, data = make(), rng.randbytes(3_000_000)
    put(api, name, io.BytesIO(data), "stream.onnx")
    assert stored(api, name, "stream.onnx", tmp_path) == data
    assert way.sent > len(data)
    way.sent = 0
    put(api, name, io.BytesIO(data), "again.onnx")
    assert way.sent < 100_000


def test_a_large_stream_goes_in_parts(api, make, hub):
    name, data, before = make(), rng.randbytes(1 << 20) * 97, set(hub.aside.all())
    put(api, name, io.BytesIO(data))
    [info] = api.get_paths_info(name, ["weights.onnx"])
    assert (info.lfs.sha256, info.size) == (sha(data), len(data))
    assert set(hub.aside.all()) == before


class Wire:
    """What the client does, by hand."""

    def __init__(self, served, user):
        self.http = httpx2.Client(base_url=served.endpoint)
        self.auth = {"authorization": f"Bearer {served.tokens[user]}"}

    def batch(self, name, *objects, **more):
        content = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects}
        url = f"/{name}.git/info/lfs/objects/batch"
        return self.http.post(url, json={**content, **more}, headers=self.auth)

    def token(self, name, query=""):
        url = f"/api/models/{name}/xet-write-token/main{query}"
        return self.http.get(url, headers=self.auth)

    def send(self, told, path, content):
        headers = {"authorization": f"Bearer {told['accessToken']}"}
        return self.http.post(f"{told['casUrl']}{path}", content=content, headers=headers)

    def xorb(self, told, content, name=""):
        return self.send(told, f"/v1/xorbs/default/{name or named(content)}", content)


@pytest.fixture
def wire(served):
    made = []

    def wire(user):
        made.append(Wire(served, user))
        return made[-1]

    yield wire
    for one in made:
        one.http.close()


def test_nobody_writes_to_anothers_namespace(wire, make):
    name = make()
    alice, bob = wire("alice"), wire("bob")
    told = alice.token(name).json()
    assert bob.token(name).status_code == 403
    assert bob.batch(name, {"oid": sha(b"x"), "size": 1}).status_code == 403
    elsewhere = {**told, "casUrl": told["casUrl"].replace("/alice", "/bob")}
    assert alice.xorb(elsewhere, chunk(b"x")).status_code == 403
    for token in ("x", "x.y", told["accessToken"][:-3] + "AAA", bob.auth["authorization"][7:]):
        assert alice.xorb({**told, "accessToken": token}, chunk(b"x")).status_code == 401
    assert "Bearer" not in told["accessToken"]


@pytest.mark.parametrize("path", ["whoami-v2", "models/alice/x", "x/resolve/main/a"])
def test_what_needs_no_key_leads_nowhere_else(served, path):
    for start in ("-/", "-/..%2F", "-/../", "%2D/", "-%2F..%2F", "-/xet/../../"):
        for below in (path, f"api/{path}"):
            reply = httpx2.get(f"{served.url}/hf/{start}{below}")
            assert reply.status_code in {401, 404}, reply.url


def test_nobody_reaches_anothers_bytes_by_their_hash(wire, make, alice, bob):
    name, data = make({"weights.onnx": RANDOM}, private=True), chunk(RANDOM[:1000])
    mine, theirs = wire("alice"), wire("bob")
    bob.create_repo("bob/thief", exist_ok=True)
    [answer] = mine.batch(name, {"oid": sha(RANDOM), "size": len(RANDOM)}).json()["objects"]
    assert "actions" not in answer
    [answer] = theirs.batch("bob/thief", {"oid": sha(RANDOM), "size": len(RANDOM)}).json()[
        "objects"
    ]
    assert "upload" in answer["actions"]
    assert mine.xorb(mine.token(name).json(), data).status_code == 200
    stolen = shard(file([(named(data), 0, 1, 1000)], sha(RANDOM[:1000])))
    reply = theirs.send(theirs.token("bob/thief").json(), "/v1/shards", stolen)
    assert (reply.status_code, "is not here" in reply.text) == (400, True)


def test_who_proposes_sends_bytes_of_their_own(wire, make, hub):
    name, content = make(), chunk(b"a proposal")
    bob = wire("bob")
    told = bob.token(name, "?create_pr=1").json()
    assert told["casUrl"].endswith("/bob")
    assert bob.xorb(told, content).json() == {"was_inserted": True}
    assert bob.xorb(told, content).json() == {"was_inserted": False}
    made = shard(file([(named(content), 0, 1, 10)], sha(b"a proposal")))
    assert bob.send(told, "/v1/shards", made).json() == {"result": 1}
    assert bob.send(told, "/v1/shards", made).json() == {"result": 0}
    assert hub.holdings.has(sha(b"a proposal"), "bob")
    assert not hub.holdings.has(sha(b"a proposal"), "alice")


def test_what_is_not_a_xorb_or_shard_is_told(wire, make):
    alice = wire("alice")
    told = alice.token(make()).json()
    assert alice.xorb(told, b"no xorb").status_code == 400
    assert alice.xorb(told, chunk(b"x"), "no hash").status_code in {400, 404}
    assert alice.send(told, "/v1/shards", b"").status_code == 400
    lines = alice.send(told, "/v2/shards", b"no shard").text
    assert '"type":"error"' in lines and "not a shard" in lines


def test_parts_may_be_sent_again(wire, make, hub):
    alice, name, before = wire("alice"), make(), set(hub.aside.all())
    data = rng.randbytes(1 << 20) * 98
    [answer] = alice.batch(name, {"oid": sha(data), "size": len(data)}).json()["objects"]
    upload = answer["actions"]["upload"]
    size = int(upload["header"].pop("chunk_size"))
    parts = {int(number): url for number, url in upload["header"].items()}
    for number in (2, 1, 2, 4, 3):
        assert alice.http.post(upload["href"], json={}).status_code == 400  # not all are there
        part = data[(number - 1) * size : number * size]
        assert alice.http.put(parts[number], content=part[:-1]).status_code == 400
        assert alice.http.put(parts[number], content=part).status_code == 200
    for _ in range(2):
        assert alice.http.post(upload["href"], json={}).status_code == 200
    verify = answer["actions"]["verify"]["href"]
    assert alice.http.post(verify, json={}).status_code == 200
    assert hub.blobs.has(sha(data))
    assert set(hub.aside.all()) == before


def test_a_file_that_is_cut_off_or_other_is_not_kept(wire, make, hub):
    alice = wire("alice")
    [answer] = alice.batch(make(), {"oid": sha(b"right"), "size": 5}).json()["objects"]
    href = answer["actions"]["upload"]["href"]
    for content in (b"righ", b"wrong", b"right and more"):
        assert alice.http.put(href, content=content).status_code == 400
    assert alice.http.post(answer["actions"]["verify"]["href"], json={}).status_code == 404
    assert alice.http.put(href, content=b"right").status_code == 200
    assert not hub.blobs.has(sha(b"wrong"))


SERVER = """
import sys
from pathlib import Path
from baigong.app import Platform
from baigong.config import Settings
from baigong.gateway.run import serve
serve(Platform.open(Settings(home=Path(sys.argv[1]))), "127.0.0.1", int(sys.argv[2]),
      ready=lambda url: print(url, flush=True))
"""
CLIENT = """
import sys
from huggingface_hub import HfApi
api = HfApi(endpoint=sys.argv[1] + "/hf", token="none")
api.create_repo("local/large", exist_ok=True)
api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo="weights.onnx", repo_id="local/large")
"""


def test_a_killed_upload_goes_on_where_it_was(tmp_path):
    content = b"".join(rng.randbytes(1 << 20) for _ in range(90))
    (tmp_path / "weights.onnx").write_bytes(content)
    env = {
        **os.environ,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_XET_DATA_SESSION_XORB_METADATA_FLUSH_MAX_COUNT": "1",
    }

    def start(code, *args):
        command = [sys.executable, "-c", code, *map(str, args)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def client(url):
        return start(CLIENT, url, tmp_path / "weights.onnx")

    server = start(SERVER, tmp_path / "home", 0)
    url = server.stdout.readline().strip()
    with counted(url) as way:
        first = client(way.url)
        # The first xorb is in, and the client has noted so; the second is on its way.
        while way.sent < 72 << 20 or not any((tmp_path / "xet").rglob("*.mdb")):
            assert first.poll() is None
            time.sleep(0.01)
        for process in (server, first):
            process.send_signal(signal.SIGKILL)
            process.communicate()
        server = start(SERVER, tmp_path / "home", url.rpartition(":")[2])
        server.stdout.readline()
        way.sent = 0
        second = client(way.url)
        second.communicate()
        assert (second.returncode, way.sent < 60 << 20) == (0, True)
    back = httpx2.get(f"{url}/hf/local/large/resolve/main/weights.onnx")
    server.send_signal(signal.SIGTERM)
    server.communicate()
    assert sha(back.content) == sha(content)
    blobs = tmp_path / "home" / "blobs"
    large = [f for f in blobs.rglob("*") if f.is_file() and f.stat().st_size > 1 << 20]
    assert [f.name for f in large if "incoming" not in f.parts] == [sha(content)]
