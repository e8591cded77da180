"""Files through the clients that people read them with: downloads, snapshots, file systems, models."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfFileSystem, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.models import make_model

LARGE = bytes(range(256)) * 20_000  # five megabytes


@pytest.fixture(scope="module")
def get(served):
    """A plain GET with alice's key."""

    def get(path, method="GET", **headers):
        headers = {"authorization": f"Bearer {served.tokens['alice']}", **headers}
        return httpx2.request(method, f"{served.endpoint}/{path}", headers=headers)

    return get


@pytest.fixture
def name(make):
    return make({"a.txt": b"first", "deep/down/b.txt": b"second", "large.bin": LARGE})


def test_a_file_tells_what_it_is(alice, get, name):
    info = alice.get_hf_file_metadata(url=f"{alice.endpoint}/{name}/resolve/main/large.bin")
    assert info.size == len(LARGE)
    assert info.commit_hash == alice.model_info(name).sha
    files = {file.path: file for file in alice.list_repo_tree(name)}
    assert info.etag == files["large.bin"].lfs.sha256
    small = get(f"{name}/resolve/main/a.txt")
    assert small.headers["etag"] == f'"{files["a.txt"].blob_id}"'
    assert small.content == b"first"
    assert small.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=100-", 206, 100, len(LARGE)),
        ("bytes=-7", 206, len(LARGE) - 7, len(LARGE)),
        (f"bytes={len(LARGE)}-", 416, 0, 0),
        ("lines=1-2", 200, 0, len(LARGE)),
    ],
)
def test_ranges(get, name, asked, status, start, stop):
    reply = get(f"{name}/resolve/main/large.bin", range=asked)
    assert (reply.status_code, reply.content) == (status, LARGE[start:stop])


def test_a_download_that_broke_off_is_gone_on_with(alice, name, tmp_path):
    etag = alice.get_hf_file_metadata(url=f"{alice.endpoint}/{name}/resolve/main/large.bin").etag
    blobs = tmp_path / f"models--{name.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag}.incomplete").write_bytes(LARGE[:1_000_000])
    path = alice.hf_hub_download(name, "large.bin", cache_dir=tmp_path)
    assert Path(path).read_bytes() == LARGE


def test_a_snapshot_is_everything_at_one_commit(served, alice, name, tmp_path):
    before = alice.model_info(name).sha
    alice.upload_file(path_or_fileobj=b"later", path_in_repo="a.txt", repo_id=name)
    where = {"endpoint": served.endpoint, "token": served.tokens["alice"], "cache_dir": tmp_path}
    folder = Path(snapshot_download(name, revision=before, **where))
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    del found[".gitattributes"]
    assert found == {"a.txt": b"first", "deep/down/b.txt": b"second", "large.bin": LARGE}


def test_what_is_missing_is_told_apart(alice, get, name, tmp_path):
    with pytest.raises(EntryNotFoundError):
        alice.hf_hub_download(name, "missing.txt", cache_dir=tmp_path)
    with pytest.raises(RevisionNotFoundError):
        alice.hf_hub_download(name, "a.txt", revision="missing", cache_dir=tmp_path)
    with pytest.raises(RepositoryNotFoundError):
        alice.hf_hub_download("alice/missing", "a.txt", cache_dir=tmp_path)
    assert get(f"{name}/resolve/main/missing.txt", "HEAD").headers["x-repo-commit"]


@pytest.mark.parametrize("path", ["../a.txt", "..%2fa.txt", "%2e%2e/%2e%2e/etc/passwd", "deep", ""])
def test_no_path_leads_elsewhere(get, name, path):
    assert get(f"{name}/resolve/main/{path}").status_code == 404


def test_trees_are_read_by_pages(alice, get, make):
    name = make()
    files = {f"folder-{n % 3}/{n:04}.txt": b"x" for n in range(120)}

    adds = [CommitOperationAdd(path, content) for path, content in files.items()]
    alice.create_commit(name, adds, commit_message="Many")
    listed = list(alice.list_repo_tree(name, recursive=True, expand=True))
    assert len(listed) == 120 + 3 + 1
    assert {one.last_commit.title for one in listed} == {"Many", "initial commit"}
    assert [one.path for one in alice.list_repo_tree(name, "folder-1")][:2] == [
        "folder-1/0001.txt",
        "folder-1/0004.txt",
    ]
    paths = [
        one.path for one in alice.get_paths_info(name, ["folder-2", "no", "folder-0/0000.txt"])
    ]
    assert paths == ["folder-2", "folder-0/0000.txt"]
    with pytest.raises(EntryNotFoundError):
        list(alice.list_repo_tree(name, "folder-9"))


def test_a_file_system(served, name):
    files = HfFileSystem(endpoint=served.endpoint, token=served.tokens["alice"])
    assert files.read_text(f"{name}/deep/down/b.txt") == "second"
    assert sorted(files.glob(f"{name}/**/*.txt")) == [f"{name}/a.txt", f"{name}/deep/down/b.txt"]
    with files.open(f"{name}/large.bin", "rb") as file:
        file.seek(4_000_000)
        assert file.read(10) == LARGE[4_000_000:4_000_010]
    with files.open(f"{name}/new.txt", "w") as file:
        file.write("written")
    files.cp(f"{name}/new.txt", f"{name}/copy.txt")
    files.rm(f"{name}/new.txt")
    files.invalidate_cache()
    assert files.isdir(f"{name}/deep")
    assert files.cat(f"{name}/copy.txt") == b"written"
    assert not files.exists(f"{name}/new.txt")


def test_downloads_are_counted_once_a_snapshot(served, alice, make, tmp_path):
    name = make({"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n", "a.txt": b"a"})
    where = {"endpoint": served.endpoint, "token": served.tokens["alice"]}
    for number in range(3):
        snapshot_download(name, cache_dir=tmp_path / str(number), **where)
    served.platform.hub.counting.close()
    assert alice.model_info(name).downloads == 3


def test_a_model_is_loaded_by_its_name(served, alice, tmp_path):
    folder = make_model(tmp_path / "tiny")
    alice.create_repo("alice/tiny")
    alice.upload_folder(repo_id="alice/tiny", folder_path=folder)
    load = """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained("alice/tiny")
        model = AutoModelForCausalLM.from_pretrained("alice/tiny")
        tokens = tokenizer("hello", return_tensors="pt")
        print(model(**tokens).logits.shape[-1] == len(tokenizer))
    """
    env = {
        "HF_ENDPOINT": served.endpoint,
        "HF_TOKEN": served.tokens["alice"],
        "HF_HOME": str(tmp_path / "home"),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(load)], env=env, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
