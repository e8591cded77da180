"""Branches, tags, history and pull requests through Hugging Face's client."""

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from baigong.hub.commits import Put, Words


def refused(status):
    return pytest.raises(HfHubHTTPError, check=lambda e: e.response.status_code == status)


def read(api, name, path, tmp_path, revision="main"):
    with open(api.hf_hub_download(name, path, revision=revision, cache_dir=tmp_path), "rb") as file:
        return file.read()


def test_branches_and_tags_lead_to_commits(alice, make, tmp_path):
    name = make({"a.txt": b"one"})
    alice.create_tag(name, tag="v1", tag_message="The first")
    alice.create_branch(name, branch="try/this", revision="v1")
    alice.upload_file(
        path_or_fileobj=b"two", path_in_repo="a.txt", repo_id=name, revision="try/this"
    )
    assert read(alice, name, "a.txt", tmp_path) == b"one"
    assert read(alice, name, "a.txt", tmp_path, "v1") == b"one"
    assert read(alice, name, "a.txt", tmp_path, "try/this") == b"two"
    refs = alice.list_repo_refs(name)
    assert [ref.name for ref in refs.branches] == ["main", "try/this"]
    assert [ref.ref for ref in refs.tags] == ["refs/tags/v1"]
    short = alice.model_info(name, revision="try/this").sha[:8]
    assert read(alice, name, "a.txt", tmp_path, short) == b"two"
    alice.delete_branch(name, branch="try/this")
    alice.delete_tag(name, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        alice.model_info(name, revision="try/this")


def test_what_cannot_be_done_to_a_branch(alice, make):
    name = make()
    alice.create_branch(name, branch="b")
    with refused(409):
        alice.create_branch(name, branch="b")
    with refused(403):
        alice.delete_branch(name, branch="main")
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id"):
        alice.delete_branch(name, branch="missing")
    with pytest.raises(RevisionNotFoundError):
        alice.create_branch(name, branch="c", revision="missing")
    with pytest.raises(BadRequestError):
        alice.create_branch(name, branch="refs/pr/7")
    with pytest.raises(BadRequestError):
        alice.create_tag(name, tag="not a name")


def test_history_can_be_made_one_commit(alice, make):
    name = make({"a.txt": b"a", "b.txt": b"b"})
    assert len(alice.list_repo_commits(name)) == 3
    alice.super_squash_history(name, commit_message="All of it")
    assert [commit.title for commit in alice.list_repo_commits(name)] == ["All of it"]
    assert len(alice.list_repo_files(name)) == 3


def test_history_is_read_by_pages(served, alice, make):
    name, hub = make(), served.platform.hub
    one = hub.repositories.find("model", name)
    for number in range(51):
        hub.commits.commit(one.id, [Put("a.txt", hub.keep(b"%d" % number))], Words("more", "alice"))
    commits = alice.list_repo_commits(name, formatted=True)
    assert len(commits) == len({commit.commit_id for commit in commits}) == 52
    assert commits[-1].formatted_title == "<p>initial commit</p>"


def test_others_propose_and_owners_merge(alice, bob, make, tmp_path):
    name = make({"a.txt": b"one", "b.txt": b"two"})
    made = bob.create_commit(
        name,
        [CommitOperationAdd("a.txt", b"better"), CommitOperationDelete("b.txt")],
        commit_message="Better",
        commit_description="Because.",
        create_pr=True,
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert read(alice, name, "a.txt", tmp_path) == b"one"
    assert read(alice, name, "a.txt", tmp_path, "refs/pr/1") == b"better"
    bob.upload_file(
        path_or_fileobj=b"more", path_in_repo="c.txt", repo_id=name, revision="refs/pr/1"
    )
    alice.upload_file(path_or_fileobj=b"meanwhile", path_in_repo="d.txt", repo_id=name)
    with refused(403):
        bob.merge_pull_request(name, 1)
    alice.merge_pull_request(name, 1, comment="Thanks")
    assert set(alice.list_repo_files(name)) == {".gitattributes", "a.txt", "c.txt", "d.txt"}
    told = alice.get_discussion_details(name, 1)
    assert (told.status, told.author, told.merge_commit_oid) == (
        "merged",
        "bob",
        alice.model_info(name).sha,
    )
    assert [event.type for event in told.events] == [
        "comment",
        "commit",
        "commit",
        "comment",
        "status-change",
    ]
    with refused(409):
        alice.merge_pull_request(name, 1)


def test_a_proposal_against_a_changed_file_is_not_merged(alice, bob, make, tmp_path):
    name = make({"a.txt": b"one"})
    bob.upload_file(path_or_fileobj=b"bob's", path_in_repo="a.txt", repo_id=name, create_pr=True)
    alice.upload_file(path_or_fileobj=b"alice's", path_in_repo="a.txt", repo_id=name)
    with refused(409) as found:
        alice.merge_pull_request(name, 1)
    assert "both sides: a.txt" in str(found.value)
    assert read(alice, name, "a.txt", tmp_path) == b"alice's"


def test_a_proposal_that_is_refused_leaves_nothing(alice, bob, make):
    name = make()
    with pytest.raises(HfHubHTTPError, match="code"):
        bob.upload_file(
            path_or_fileobj=b"import os", path_in_repo="m.py", repo_id=name, create_pr=True
        )
    assert list(alice.get_repo_discussions(name)) == []
    assert alice.list_repo_refs(name, include_pull_requests=True).pull_requests == []


def test_a_proposal_is_its_authors(served, alice, bob, make):
    name = make()
    alice.create_pull_request(name, title="Mine")
    with refused(403):
        bob.upload_file(
            path_or_fileobj=b"b", path_in_repo="b.txt", repo_id=name, revision="refs/pr/1"
        )
    with refused(403):
        bob.change_discussion_status(name, 1, "closed")
    with refused(403):
        bob.rename_discussion(name, 1, "Bob's")


def test_people_talk(alice, bob, make):
    name = make(kind="dataset")
    opened = bob.create_discussion(
        name, title="A question", description="Why?", repo_type="dataset"
    )
    said = alice.comment_discussion(name, opened.num, "Because.", repo_type="dataset")
    with refused(403):
        bob.edit_discussion_comment(name, opened.num, said.id, "Never mind.", repo_type="dataset")
    alice.edit_discussion_comment(name, opened.num, said.id, "Because!", repo_type="dataset")
    alice.change_discussion_status(name, opened.num, "closed", repo_type="dataset")
    told = bob.get_discussion_details(name, opened.num, repo_type="dataset")
    assert (told.status, told.title) == ("closed", "A question")
    comments = [event for event in told.events if event.type == "comment"]
    assert [(each.content, each.edited) for each in comments] == [
        ("Why?", False),
        ("Because!", True),
    ]
    opens = alice.get_repo_discussions(name, discussion_status="open", repo_type="dataset")
    assert list(opens) == []


def test_an_owner_may_want_no_discussions(served, alice, bob, make):

    name = make()
    httpx2.put(
        f"{served.endpoint}/api/models/{name}/settings",
        headers={"authorization": f"Bearer {served.tokens['alice']}"},
        json={"discussionsDisabled": True},
    )
    with refused(403):
        bob.create_discussion(name, title="A question")
    assert alice.create_discussion(name, title="A note").num == 1
