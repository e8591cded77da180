"""Commits through Hugging Face's client: what is sent how, what is changed, and who wins a race."""

import base64
import hashlib
import json
import threading

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    ModelCard,
)
from huggingface_hub.errors import HfHubHTTPError


def refused(status):
    return pytest.raises(HfHubHTTPError, check=lambda e: e.response.status_code == status)


def add(path, content):
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)


def send(served, name, lines, user="alice", query=""):
    """A commit as it stands on the wire."""
    return httpx2.post(
        f"{served.endpoint}/api/models/{name}/commit/main{query}",
        headers={"authorization": f"Bearer {served.tokens[user]}"},
        content=b"\n".join(json.dumps(line).encode() for line in lines),
    )


HEADER = {"key": "header", "value": {"summary": "a commit", "description": ""}}


def test_a_commit_is_whole(alice, make):
    name = make({"old/a.txt": b"a", "old/b.txt": b"b", "c.txt": b"c"})
    made = alice.create_commit(
        name,
        [
            CommitOperationDelete("old/"),
            CommitOperationDelete("c.txt"),
            add("new/a.txt", b"another"),
            add("d.txt", b"d"),
        ],
        commit_message="Change much",
        commit_description="At once.",
    )
    assert sorted(alice.list_repo_files(name)) == [".gitattributes", "d.txt", "new/a.txt"]
    newest = alice.list_repo_commits(name)[0]
    assert (newest.commit_id, newest.title, newest.message) == (made.oid, "Change much", "At once.")
    assert newest.authors == ["alice"]


def test_a_folder_goes_up_without_what_is_ignored(alice, make, tmp_path):
    name = make()
    for path in ("a.txt", "keep/b.txt", "logs/c.txt", "d.log"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / ".gitignore").write_text("logs/\n*.log\n")
    alice.upload_folder(repo_id=name, folder_path=tmp_path)
    files = set(alice.list_repo_files(name)) - {".gitattributes", ".gitignore"}
    assert files == {"a.txt", "keep/b.txt"}


def test_what_is_there_already_makes_no_commit(alice, make):
    name = make({"a.txt": b"a", "large.bin": b"\0\1\2"})
    count = len(alice.list_repo_commits(name))
    alice.upload_file(path_or_fileobj=b"a", path_in_repo="a.txt", repo_id=name)
    alice.upload_file(path_or_fileobj=b"\0\1\2", path_in_repo="large.bin", repo_id=name)
    assert len(alice.list_repo_commits(name)) == count


def test_large_files_and_small_are_copied(alice, make):
    name = make({"a.txt": b"a", "large.bin": b"\0\1\2"})
    copies = [
        CommitOperationCopy(src_path_in_repo="a.txt", path_in_repo="copy/a.txt"),
        CommitOperationCopy(src_path_in_repo="large.bin", path_in_repo="copy/large.bin"),
    ]
    alice.create_commit(name, copies, commit_message="Copy")
    files = {file.rfilename: file for file in alice.model_info(name, files_metadata=True).siblings}
    assert files["copy/a.txt"].blob_id == files["a.txt"].blob_id
    assert files["copy/large.bin"].lfs.sha256 == hashlib.sha256(b"\0\1\2").hexdigest()
    assert files["copy/large.bin"].size == 3


@pytest.mark.parametrize(
    ("path", "content", "mode"),
    [
        ("a.txt", b"text", "regular"),
        ("a.safetensors", b"text", "lfs"),
        ("deep/down/a.bin", b"text", "lfs"),
        ("a.txt", b"\0binary", "lfs"),
        ("a.txt", b"x" * (11 << 20), "lfs"),
    ],
)
def test_how_a_file_is_sent(served, make, path, content, mode):
    file = {"path": path, "size": len(content), "sample": base64.b64encode(content[:512]).decode()}
    reply = httpx2.post(
        f"{served.endpoint}/api/models/{make()}/preupload/main",
        headers={"authorization": f"Bearer {served.tokens['alice']}"},
        json={"files": [file]},
    )
    assert reply.json()["files"][0]["uploadMode"] == mode


def test_a_repository_says_itself_which_files_are_large(alice, make):
    name = make({
        ".gitattributes": b"*.csv filter=lfs diff=lfs merge=lfs -text\nsmall.csv -filter\n"
    })
    for path in ("a.csv", "small.csv", "a.bin"):
        alice.upload_file(path_or_fileobj=b"1,2", path_in_repo=path, repo_id=name)
    files = {file.path: file for file in alice.list_repo_tree(name)}
    assert [files[path].lfs is not None for path in ("a.csv", "small.csv", "a.bin")] == [1, 0, 0]


def test_whoever_looked_before_another_commit_is_told(alice, make):
    name = make()
    before = alice.model_info(name).sha
    alice.upload_file(path_or_fileobj=b"a", path_in_repo="a.txt", repo_id=name)
    with refused(412):
        alice.create_commit(name, [add("b.txt", b"b")], commit_message="Late", parent_commit=before)
    assert "b.txt" not in alice.list_repo_files(name)


def test_of_racing_commits_that_name_their_parent_one_wins(served, alice, make):
    name = make()
    parent, statuses = alice.model_info(name).sha, []
    header = {"key": "header", "value": {"summary": "race", "parentCommit": parent}}

    def race(number):
        value = {"path": f"{number}.txt", "content": "YQ==", "encoding": "base64"}
        statuses.append(send(served, name, [header, {"key": "file", "value": value}]).status_code)

    threads = [threading.Thread(target=race, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412, 412, 412, 412, 412]
    assert len(alice.list_repo_files(name)) == 2


def test_of_racing_commits_that_name_none_all_are_made(served, alice, make):
    name = make()

    def race(number):
        alice.create_commit(name, [add(f"{number}.txt", b"a")], commit_message="Race")

    threads = [threading.Thread(target=race, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(alice.list_repo_files(name)) == 7
    assert len(alice.list_repo_commits(name)) == 7


@pytest.mark.parametrize(
    "path", ["../a", "/etc/passwd", "a/../../b", "a\\b", ".git/config", "a:b", "a//b", "a\x00b", ""]
)
def test_paths_that_lead_elsewhere_are_refused(served, alice, make, path):
    name = make()
    value = {"path": path, "content": "YQ==", "encoding": "base64"}
    reply = send(served, name, [HEADER, {"key": "file", "value": value}])
    assert reply.status_code == 422
    assert "not a path" in reply.json()["error"]
    assert alice.list_repo_files(name) == [".gitattributes"]


def test_only_who_has_bytes_may_commit_them(served, alice, bob, make):
    secret = b"\0only alice has this"
    name = make({"secret.bin": secret}, private=True)
    bob.create_repo("bob/taker", exist_ok=True)
    oid = hashlib.sha256(secret).hexdigest()
    value = {"path": "got.bin", "algo": "sha256", "oid": oid, "size": len(secret)}
    lines = [HEADER, {"key": "lfsFile", "value": value}]
    reply = send(served, "bob/taker", lines, user="bob")
    assert (reply.status_code, "are not here" in reply.json()["error"]) == (400, True)
    assert send(served, name, lines).status_code == 200


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"key": "file", "value": {"path": "a", "content": "YQ=="}}],
        [HEADER, {"key": "file", "value": {"path": "a", "content": "?", "encoding": "base64"}}],
        [HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "../../../../etc/passwd"}}],
        [HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "0" * 64}}],
        [HEADER, {"key": "surprise", "value": {}}],
        [HEADER, {"key": "deletedFile", "value": {"path": "missing"}}],
        [HEADER, "file"],
    ],
)
def test_a_commit_that_makes_no_sense_changes_nothing(served, alice, make, lines):
    name = make()
    assert send(served, name, lines).status_code == 400
    assert len(alice.list_repo_commits(name)) == 1


def test_a_wrong_size_is_noticed(served, make):
    name = make({"large.bin": b"\0\1\2"})
    oid = hashlib.sha256(b"\0\1\2").hexdigest()
    value = {"path": "another.bin", "oid": oid, "size": 4}
    reply = send(served, name, [HEADER, {"key": "lfsFile", "value": value}])
    assert "has 3 bytes, not 4" in reply.json()["error"]


def test_what_may_not_be_there_is_refused_and_what_is_odd_is_told(served, alice, make):
    with pytest.raises(HfHubHTTPError, match="code"):
        alice.upload_file(path_or_fileobj=b"import os", path_in_repo="m.py", repo_id=make())
    key = f"AWS_SECRET = 'AKIA{'ABCDEFGH' * 2}'\n-----BEGIN PRIVATE KEY-----\n"
    value = {"path": "notes.txt", "content": key}
    reply = send(served, make(), [HEADER, {"key": "file", "value": value}])
    assert reply.status_code == 200
    assert "notes.txt" in reply.headers["x-hf-warning"]


def test_a_card_is_looked_over(alice, make):
    name = make()
    with pytest.raises(ValueError, match="Invalid metadata"):
        alice.upload_file(
            path_or_fileobj=b"---\nmodel-index: foo\n---\n", path_in_repo="README.md", repo_id=name
        )
    with pytest.warns(UserWarning, match="metadata"):
        alice.upload_file(path_or_fileobj=b"# None", path_in_repo="README.md", repo_id=name)


def test_a_card_is_looked_over_for_whom_nobody_knows(served, monkeypatch):
    """As RepoCard.push_to_hub asks: without the key that it has."""
    ask = f"{served.endpoint}/api/validate-yaml"
    good, bad = "---\nlicense: mit\n---\n", "---\nmodel-index: foo\n---\n"
    assert httpx2.post(ask, json={"content": good}).status_code == 200
    assert httpx2.post(ask, json={"content": bad}).status_code == 400
    headers = {"authorization": "Bearer wrong"}
    assert httpx2.post(ask, json={"content": good}, headers=headers).status_code == 401
    monkeypatch.setattr("huggingface_hub.repocard.constants.ENDPOINT", served.endpoint)
    ModelCard(good + "# A card\n").validate()
