import hashlib
import os
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from modelscope_hub.compat import LegacyHubApi, model_file_download, snapshot_download
from modelscope_hub.errors import (
    AlreadyExistsError,
    AuthenticationError,
    HubError,
    InvalidParameter,
    NotExistError,
    PermissionDeniedError,
)

from baigong.store.hub_tables import awaited


def safetensors(size):
    """A file of so many bytes with one tensor of random ones."""
    head = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}'
    rest = size - 80
    return struct.pack("<Q", 72) + (head % (rest, rest)).ljust(72) + os.urandom(rest)


LARGE = safetensors(300_000)


def paths(client, name, kind="model", **options):
    return [f.path for f in client.list_repo_files(name, kind, **options) if not f.is_dir]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "notes.txt").write_text("Grüße 你好")
    (folder / "model.safetensors").write_bytes(LARGE)
    return folder


@pytest.mark.usefixtures("leaks")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_logging_in_keeps_the_token_for_the_next_process(endpoint, keys, client_of):
    from modelscope_hub import HubApi

    client = HubApi(endpoint=endpoint)
    assert client.login(keys["alice"]).username == "alice"
    assert HubApi(endpoint=endpoint).whoami().username == "alice"
    with pytest.raises(AuthenticationError, match="unknown or revoked"):
        HubApi(endpoint=endpoint).login("bg-wrong")
    older = requests.post(f"{endpoint}/api/v1/login", json={"AccessToken": keys["bob"]})
    assert older.json()["Data"]["Username"] == "bob"
    assert older.cookies["m_session_id"] == keys["bob"]


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_repository_is_made_described_hidden_shown_and_deleted(alice, bob, endpoint, keys, kind):
    name = f"alice/life-{kind}"
    made = alice.create_repo(name, kind, visibility="private", license="Apache License 2.0")
    assert made.repo_id == name
    with pytest.raises(AlreadyExistsError):
        alice.create_repo(name, kind)
    found = alice.get_repo(name, kind)
    assert (found.owner, found.private, found.license) == ("alice", True, "apache-2.0")
    assert not bob.repo_exists(name, kind)
    for visibility, seen in ((5, True), (1, False)):
        requests.put(
            f"{endpoint}/api/v1/{kind}s/{name}",
            json={"Visibility": visibility, "ProtectedMode": 2},
            cookies={"m_session_id": keys["alice"]},
        ).raise_for_status()
        assert bob.repo_exists(name, kind) is seen
    with pytest.warns(DeprecationWarning, match="deprecated"):
        alice.delete_repo(name, kind)
    assert not alice.repo_exists(name, kind)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_folder_comes_back_as_it_was_sent(alice, folder, tmp_path, kind):
    name = f"alice/folder-{kind}"
    alice.upload_folder(name, kind, str(folder))
    out = alice.download_repo(name, kind, local_dir=str(tmp_path / "out"))
    for path in ("config.json", "sub/notes.txt", "model.safetensors"):
        assert (out / path).read_bytes() == (folder / path).read_bytes()
    listed = {f.path: f for f in alice.list_repo_files(name, kind)}
    assert listed["model.safetensors"].sha256 == hashlib.sha256(LARGE).hexdigest()
    assert listed["sub"].is_dir
    assert "sub/notes.txt" not in paths(alice, name, kind, recursive=False)


def test_large_files_are_sent_once_and_awaited_until_a_commit_names_them(
    alice, platform, endpoint, keys
):
    data = safetensors(1000)
    digest, name = hashlib.sha256(data).hexdigest(), "alice/large"
    alice.create_repo(name, "model")
    one = [{"oid": digest, "size": len(data)}]
    where = alice.legacy.validate_blobs(name, "model", one)[digest]
    with pytest.raises(InvalidParameter, match="announced"):
        alice.legacy.upload_blob(where, b"x" * len(data), len(data))
    with pytest.raises(InvalidParameter, match="longer"):
        alice.legacy.upload_blob(where, data + b"x", len(data) + 1)
    assert not platform.blobs.has(digest)
    alice.legacy.upload_blob(where, data, len(data))
    assert alice.legacy.validate_blobs(name, "model", one)[digest] is None

    def is_awaited():
        with platform.database.read() as connection:
            return digest in connection.execute(awaited.select()).scalars().all()

    assert is_awaited()
    alice.upload_file(name, "model", data, "a.safetensors")
    assert not is_awaited()
    assert paths(alice, name) == ["README.md", "a.safetensors"]


def test_a_commit_names_only_bytes_that_are_here(alice):
    alice.create_repo("alice/lost", "model")
    lost = {"action": "create", "path": "a.bin", "type": "lfs", "size": 1, "sha256": "0" * 64}
    kept = {"action": "create", "path": "b.txt", "content": "aGk=", "encoding": "base64"}
    with pytest.raises(InvalidParameter, match="not here"):
        alice.legacy.create_commit("alice/lost", "model", [kept, lost], "x")
    for wrong in ({"sha256": "../../secret.key"}, {"path": "../x"}, {"action": "move"}):
        with pytest.raises(InvalidParameter):
            alice.legacy.create_commit("alice/lost", "model", [lost | wrong], "x")
    with pytest.raises(InvalidParameter, match="base64"):
        alice.legacy.create_commit("alice/lost", "model", [kept | {"content": "!"}], "x")
    assert paths(alice, "alice/lost") == ["README.md"]


def test_what_may_not_be_hosted_is_refused_with_the_reason(alice):
    pickled = pickle.dumps(os.system)
    with pytest.raises(InvalidParameter, match=r"a\.bin"):
        alice.upload_file("alice/unsafe", "model", pickled, "a.bin")
    with pytest.raises(InvalidParameter, match="not safetensors"):
        alice.upload_file("alice/unsafe", "model", b"x" * 100, "a.safetensors")
    assert paths(alice, "alice/unsafe") == ["README.md"]


def test_files_are_deleted_by_commits_and_one_by_one(alice, folder):
    name = "alice/deleting"
    alice.upload_folder(name, "model", str(folder))
    gone = alice.delete_files(name, "model", delete_patterns="sub/*")
    assert gone["deleted_files"] == ["sub/notes.txt"]
    alice.legacy.delete_file(name, "model", "config.json")
    assert paths(alice, name) == ["README.md", "model.safetensors"]


def test_a_tag_keeps_what_a_branch_moves_on_from(alice, endpoint, keys, tmp_path):
    name = "alice/tags"
    alice.upload_file(name, "model", b"one", "a.txt", commit_message="First words")
    alice.create_repo_tag(name, "model", "v1")
    with pytest.raises(AlreadyExistsError):
        alice.create_repo_tag(name, "model", "v1")
    alice.upload_file(name, "model", b"two", "a.txt")
    branches, tags = alice.legacy.list_revisions_detail(name, "model")
    assert [b["Revision"] for b in branches] == ["master"]
    assert [t["Revision"] for t in tags] == ["v1"]
    for revision, text in (("v1", "one"), ("master", "two"), (tags[0]["CommitId"], "one")):
        got = alice.download_file(
            name, "model", "a.txt", revision=revision, local_dir=str(tmp_path / revision)
        )
        assert got.read_text() == text
    history = requests.get(
        f"{endpoint}/api/v1/models/{name}/commits",
        params={"Ref": "v1", "PageSize": 1},
        headers={"Authorization": f"Bearer {keys['alice']}"},
    ).json()
    assert history["TotalCount"] == 2
    assert [c["Title"] for c in history["Data"]["Commit"]] == ["First words"]
    with pytest.raises(NotExistError):
        alice.list_repo_files(name, "model", revision="v2")


def test_a_broken_download_goes_on_where_it_was(alice, endpoint, keys):
    alice.upload_file("alice/ranges", "model", LARGE, "a.safetensors")
    url = alice.legacy.get_download_url("alice/ranges", "model", "a.safetensors")
    got = requests.get(
        url, headers={"Authorization": f"Bearer {keys['alice']}", "Range": "bytes=299990-"}
    )
    assert (got.status_code, got.content) == (206, LARGE[299_990:])
    assert got.headers["content-range"] == "bytes 299990-299999/300000"
    assert got.headers["x-linked-etag"].strip('"') == hashlib.sha256(LARGE).hexdigest()


def test_a_snapshot_counts_as_one_download(alice, folder, tmp_path, platform):
    alice.upload_folder("alice/counted", "model", str(folder))
    for turn in ("first", "second"):
        alice.download_repo("alice/counted", "model", local_dir=str(tmp_path / turn))
    platform.hub.counting.close()
    assert alice.get_repo("alice/counted", "model").downloads == 2


@pytest.mark.usefixtures("leaks")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_older_functions_work_as_well(endpoint, keys, client_of, folder, tmp_path):
    legacy = LegacyHubApi(endpoint=endpoint, token=keys["alice"])
    legacy.push_model("alice/pushed", str(folder))
    assert legacy.get_valid_revision("alice/pushed") == "master"
    where = {"endpoint": endpoint, "token": keys["alice"]}
    file = model_file_download("alice/pushed", "config.json", cache_dir=str(tmp_path), **where)
    assert open(file).read() == "{}"
    snapshot = snapshot_download("alice/pushed", cache_dir=str(tmp_path), **where)
    assert os.path.getsize(os.path.join(snapshot, "model.safetensors")) == len(LARGE)
    assert legacy.create_dataset("rows", "alice").endswith("datasets/alice/rows")
    assert [f["Path"] for f in legacy.get_dataset_files("alice/rows")] == ["README.md"]


def test_what_is_somebody_elses_cannot_be_changed_and_if_private_not_seen(alice, bob, tmp_path):
    alice.create_repo("alice/open", "model")
    alice.create_repo("alice/closed", "model", visibility="private")
    for name, error in (("open", PermissionDeniedError), ("closed", NotExistError)):
        with pytest.raises(error):
            bob.upload_file(f"alice/{name}", "model", b"x", "x.txt")
        with pytest.raises(error):
            bob.create_repo_tag(f"alice/{name}", "model", "v1")
        with pytest.raises(error), pytest.warns(DeprecationWarning, match="deprecated"):
            bob.delete_repo(f"alice/{name}", "model")
        with pytest.raises(error):
            bob.legacy.validate_blobs(f"alice/{name}", "model", [{"oid": "0" * 64, "size": 1}])
    with pytest.raises(PermissionDeniedError):
        bob.create_repo("alice/new", "model")
    with pytest.raises(NotExistError):
        bob.download_file("alice/closed", "model", "README.md", local_dir=str(tmp_path))


def test_a_gated_repository_is_listed_and_its_files_are_its_owners(alice, bob, tmp_path):
    alice.create_repo("alice/gated", "model", visibility="private", gated_mode=True)
    assert bob.get_repo("alice/gated", "model").gated
    with pytest.raises(PermissionDeniedError):
        bob.download_file("alice/gated", "model", "README.md", local_dir=str(tmp_path))
    assert alice.download_file("alice/gated", "model", "README.md", local_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/studios/alice/x", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/models/alice/none", 404),
        ("POST", "/api/v1/models", 400),
        ("GET", "/openapi/v1/models?page_size=-1", 400),
        ("GET", "/openapi/v1/models?sort=best", 400),
    ],
)
def test_errors_are_in_the_envelope_of_their_address(endpoint, keys, method, path, status):
    got = requests.request(
        method, endpoint + path, json={}, headers={"Authorization": f"Bearer {keys['alice']}"}
    )
    assert got.status_code == status
    said = got.json()
    if "openapi" in path:
        assert said["success"] is False and said["code"] and said["message"]
    else:
        assert said["Success"] is False and said["Code"] == status and said["Message"]


def test_lists_are_searched_sorted_paged_and_show_nobody_what_is_private(alice, bob):
    for i in range(3):
        alice.create_repo(f"alice/listed-{i}", "model", license="mit")
    alice.create_repo("alice/listed-secret", "model", visibility="private")
    found = bob.list_repos("model", search="listed", page_size=2)
    assert (found.total_count, len(found.items)) == (3, 2)
    second = bob.list_repos("model", search="listed", page_size=2, page_number=2)
    assert {r.repo_id for r in found.items}.isdisjoint(r.repo_id for r in second.items)
    newest = alice.list_repos("model", owner="alice", search="listed", sort="last_modified")
    assert [r.name for r in newest.items][:2] == ["listed-secret", "listed-2"]
    assert bob.list_repos("model", search="listed", license="mit").total_count == 3
    assert bob.list_repos("model", search="listed", license="apache-2.0").total_count == 0
    assert bob.list_repos("model", owner="nobody").items == []
    alice.create_repo("alice/listed-rows", "dataset")
    assert "alice/listed-rows" in [r.repo_id for r in alice.list_repos("dataset").items]
    assert alice.legacy.list_datasets(owner="alice")["total_count"] >= 1
    assert alice.list_repos("mcp").items == alice.list_repos("skill").items == []


def test_uploads_that_race_on_a_branch_all_arrive(alice):
    alice.create_repo("alice/racing", "model")
    names = [f"{i}.txt" for i in range(8)]

    def upload(name):
        change = {"action": "create", "path": name, "content": "aGk=", "encoding": "base64"}
        alice.legacy.create_commit("alice/racing", "model", [change], name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, names))
    assert paths(alice, "alice/racing") == [*names, "README.md"]


def test_a_branch_that_is_not_there_is_not_committed_to(alice):
    with pytest.raises(HubError, match="no revision"):
        alice.upload_file("alice/branches", "model", b"x", "x.txt", revision="dev")
