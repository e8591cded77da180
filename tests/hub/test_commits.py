import threading

import pytest

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.hub.access import Actor
from baigong.hub.commits import Lost, Moved, Put, Ref, Remove, Words
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry

pytestmark = pytest.mark.postgres

SAID = Words("Change", "alice")


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def repository(hub):
    return hub.repositories.create("model", "alice/tiny", [put(hub, "README.md", "# Tiny")], SAID)


def put(hub, path, text):
    return Put(path, hub.keep(text.encode()))


def paths(hub, repository, revision="main"):
    return list(hub.commits.files(hub.commits.resolve(repository.id, revision)))


def test_a_commit_keeps_what_it_does_not_name(hub, repository):
    first = hub.commits.resolve(repository.id)
    made = hub.commits.commit(repository.id, [put(hub, "a/b.txt", "b")], SAID)
    assert paths(hub, repository) == ["README.md", "a/b.txt"]
    assert paths(hub, repository, first.id) == ["README.md"]
    files = hub.commits.files(made)
    assert (files["README.md"].commit, files["a/b.txt"].commit) == (first.id, made.id)
    assert [each.id for each in hub.commits.log(repository.id, made)] == [made.id, first.id]


def test_a_commit_that_changes_nothing_is_the_one_that_is_there(hub, repository):
    before = hub.commits.resolve(repository.id)
    again = hub.commits.commit(repository.id, [put(hub, "README.md", "# Tiny")], SAID)
    assert again == before


def test_a_commit_with_one_wrong_change_changes_nothing(hub, repository):
    changes = [put(hub, "new.txt", "x"), Remove("gone.txt")]
    with pytest.raises(InvalidInput, match=r"gone\.txt"):
        hub.commits.commit(repository.id, changes, SAID)
    assert paths(hub, repository) == ["README.md"]


def test_bytes_that_are_not_here_cannot_be_committed(hub, repository):
    missing = Put("weights", Entry("0" * 64, 4, "", ""))
    with pytest.raises(Lost):
        hub.commits.commit(repository.id, [missing], SAID)
    assert paths(hub, repository) == ["README.md"]


def test_a_folder_is_deleted_with_all_that_is_in_it(hub, repository):
    hub.commits.commit(repository.id, [put(hub, f"d/{n}.txt", n) for n in "abc"], SAID)
    hub.commits.commit(repository.id, [Remove("d/")], SAID)
    assert paths(hub, repository) == ["README.md"]


def test_a_file_cannot_be_a_folder_too(hub, repository):
    with pytest.raises(InvalidInput, match="at once"):
        hub.commits.commit(repository.id, [put(hub, "README.md/x", "x")], SAID)


@pytest.mark.parametrize(
    "path",
    ["../x", "/x", "a/../b", "a//b", ".git/config", "a\\b", "c:x", "a\x00b", "x" * 256, "", "a/"],
)
def test_paths_that_leave_the_repository_are_refused(hub, repository, path):
    with pytest.raises(InvalidInput, match="path"):
        hub.commits.commit(repository.id, [put(hub, path, "x")], SAID)


def test_of_two_commits_for_one_parent_the_second_is_refused(hub, repository):
    parent = hub.commits.resolve(repository.id).id
    hub.commits.commit(repository.id, [put(hub, "a", "a")], SAID, parent=parent)
    with pytest.raises(Moved, match="branch 'main' has moved"):
        hub.commits.commit(repository.id, [put(hub, "b", "b")], SAID, parent=parent)


def test_commits_of_many_writers_are_all_kept(hub, repository):
    def write(name):
        for n in range(5):
            hub.commits.commit(repository.id, [put(hub, f"{name}-{n}", name)], SAID)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths(hub, repository)) == 21
    assert len(hub.commits.log(repository.id, hub.commits.resolve(repository.id))) == 21


def test_a_revision_is_a_branch_a_tag_a_commit_or_a_digest(hub, repository):
    first = hub.commits.resolve(repository.id)
    hub.commits.refer(repository.id, Ref("tag", "v1", first.id))
    hub.commits.refer(repository.id, Ref("branch", "try/one", first.id))
    hub.commits.commit(repository.id, [put(hub, "a", "a")], SAID, branch="try/one")
    for name in ("main", "refs/heads/main", "v1", "refs/tags/v1", first.id[:8], first.digest[:12]):
        assert hub.commits.resolve(repository.id, name) == first
    assert paths(hub, repository, "try/one") == ["README.md", "a"]
    for name in ("nothing", "refs/tags/main", first.id[:6]):
        with pytest.raises(NotFound, match="no revision"):
            hub.commits.resolve(repository.id, name)


def test_a_tag_is_made_once_and_takes_no_commits(hub, repository):
    first = hub.commits.resolve(repository.id)
    hub.commits.refer(repository.id, Ref("tag", "v1", first.id))
    with pytest.raises(Conflict, match="v1"):
        hub.commits.refer(repository.id, Ref("tag", "v1", first.id))
    with pytest.raises(NotFound):
        hub.commits.commit(repository.id, [put(hub, "a", "a")], SAID, branch="v1")


def test_a_squashed_branch_has_its_files_and_one_commit(hub, repository):
    old = hub.commits.commit(repository.id, [put(hub, "a", "a")], SAID)
    made = hub.commits.squash(repository.id, "main", Words("All in one", "alice"))
    assert hub.commits.log(repository.id, made) == [made]
    assert made.digest == old.digest
    assert hub.commits.resolve(repository.id, old.id) == old


def test_a_repository_is_found_by_its_old_name_and_in_any_case(hub, repository):
    hub.repositories.move(repository, "alice/Small")
    assert hub.repositories.find("model", "ALICE/tiny").name == "alice/Small"
    assert hub.repositories.find("model", "alice/small").id == repository.id
    hub.repositories.create("model", "alice/tiny", [], SAID)
    assert hub.repositories.find("model", "alice/tiny").id != repository.id


def test_a_deleted_name_can_be_taken_again(hub, repository):
    hub.repositories.delete(repository)
    with pytest.raises(NotFound):
        hub.repositories.find("model", "alice/tiny")
    again = hub.repositories.create("model", "alice/tiny", [], SAID)
    assert paths(hub, again) == []


def test_a_private_repository_is_there_for_its_owners_alone(hub, repository):
    hub.repositories.change(repository, private=True)
    hub.namespaces.ensure_user("bob")
    hub.namespaces.ensure_user("carol")
    hub.namespaces.create_organisation("alice")
    hub.namespaces.join("alice", "bob")
    assert hub.repositories.seen("model", "alice/tiny", hub.namespaces.actor("bob"))
    assert hub.repositories.seen("model", "alice/tiny", hub.namespaces.actor(None))
    with pytest.raises(NotFound, match="may not see"):
        hub.repositories.seen("model", "alice/tiny", hub.namespaces.actor("carol"))


def test_likes_count_people_and_downloads_count_all(hub, repository):
    for user in ("bob", "Bob", "carol"):
        hub.repositories.like(repository, user)
    hub.repositories.like(repository, "carol", likes_it=False)
    hub.repositories.count_downloads({repository.id: 3})
    hub.repositories.count_downloads({repository.id: 2})
    found = hub.repositories.find("model", "alice/tiny")
    assert (found.likes, found.downloads) == (1, 5)
    assert [each.id for each in hub.repositories.liked_by("bob")] == [repository.id]


def test_an_owner_writes_to_what_is_theirs_alone(hub):
    actor = Actor("alice", ("acme",))
    assert actor.owns("Alice") and actor.owns("acme") and not actor.owns("bob")


def test_a_digest_leads_to_the_commit_that_had_it_first(hub, repository):
    facts = Words("Made", "alice", facts={"base": "alice/base"})
    made = hub.commits.commit(repository.id, [put(hub, "a.txt", "a")], facts)
    pull = hub.discussions.open(repository, Actor("mallory"), "x", "x", target="main")
    for text in ("b", "a"):
        change = [put(hub, "a.txt", text)]
        hub.commits.commit(repository.id, change, SAID, branch=pull.branch)
    assert hub.commits.resolve(repository.id, made.digest[:12]) == made


@pytest.mark.parametrize("name", ["baigong", "Local", "datasets"])
def test_nobody_is_called_as_the_platform_is(hub, name):
    for make in (hub.namespaces.ensure_user, hub.namespaces.create_organisation):
        with pytest.raises(Conflict, match="own"):
            make(name)


@pytest.mark.parametrize("length", [12, 64])
def test_no_tag_leads_away_from_what_is_pinned(hub, repository, length):
    first = hub.commits.resolve(repository.id)
    made = hub.commits.commit(repository.id, [put(hub, "a.txt", "a")], SAID)
    hub.commits.refer(repository.id, Ref("tag", first.digest[:length], made.id))
    assert hub.commits.resolve(repository.id, first.digest[:length]) == first
    hub.commits.refer(repository.id, Ref("tag", "202401011230", made.id))
    assert hub.commits.resolve(repository.id, "202401011230") == made
