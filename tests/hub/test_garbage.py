"""Garbage: what goes, what stays, and what a kill or a race may leave."""

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from baigong.errors import Conflict, NotFound
from baigong.hub.commits import Lost, Put, Ref, Remove, Words
from baigong.hub.garbage.collect import Garbage
from baigong.hub.hub import Hub
from baigong.hub.manifest import Entry
from baigong.hub.repositories import Settings
from baigong.store.blobs import Blobs
from baigong.store.files import Files
from baigong.store.hub_tables import awaited, commits, manifests, repositories, scans
from baigong.store.leases import lease
from baigong.store.tables import aliases, jobs, releases, steps
from tests.hub.collecting import STEPS, open_hub

pytestmark = pytest.mark.postgres

SAID = Words("Change", "alice")


@pytest.fixture
def hub(database, blobs, tmp_path):
    return Hub(database, blobs, tmp_path / "cache")


@pytest.fixture
def collect(hub, database, tmp_path):
    garbage = Garbage(hub, database, tmp_path / "cache")
    return lambda grace_s=0.0: garbage.collect(lambda _progress: None, grace_s)


def put(hub, path, text):
    return Put(path, hub.keep(text.encode()))


def create(hub, name="alice/tiny", kind="model", **files):
    changes = [put(hub, path, text) for path, text in files.items()]
    return hub.repositories.create(kind, name, changes, SAID)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def squashed(hub, text="old"):
    """A repository whose only commit has dropped a file of this text."""
    one = create(hub, a=text, b="kept")
    hub.commits.commit(one.id, [Remove("a")], SAID)
    hub.commits.squash(one.id, "main", SAID)
    return one


def rows(database, table):
    with database.read() as connection:
        return connection.execute(select(table)).all()


def age(database, table, seconds=100_000.0):
    """Make every row older."""
    with database.begin() as connection:
        for name in ("created_at", "deleted_at"):
            if name in table.c:
                connection.execute(update(table).values({name: table.c[name] - seconds}))


def test_history_of_a_branch_stays_and_what_was_squashed_goes(hub, collect, database):
    one = squashed(hub)
    kept = create(hub, "bob/other", c="first")
    hub.commits.commit(kept.id, [put(hub, "c", "second")], SAID)
    found = collect()
    assert (found.commits, found.blobs, found.bytes) == (2, 1, 3)
    assert not hub.blobs.has(digest("old"))
    assert all(hub.blobs.has(digest(text)) for text in ("kept", "first", "second"))
    assert list(hub.commits.files(hub.commits.resolve(one.id))) == ["b"]
    assert len(hub.commits.log(kept.id, hub.commits.resolve(kept.id))) == 2
    again = collect()
    assert (again.commits, again.blobs, again.pages) == (0, 0, 0)


def test_looking_says_the_same_and_leaves_all(hub, collect, database, tmp_path):
    squashed(hub)
    would = Garbage(hub, database, tmp_path / "cache").look(0.0)
    assert hub.blobs.has(digest("old"))
    assert would == collect()
    assert would.blobs == 1


def test_everything_young_stays(hub, collect):
    squashed(hub)
    hub.keep(b"nobody's")
    found = collect(3600)
    assert (found.commits, found.blobs) == (0, 0)
    assert hub.blobs.has(digest("old"))


@pytest.mark.parametrize(
    "ref", [Ref("tag", "v1", ""), Ref("branch", "b", ""), Ref("pull", "refs/pr/1", "")]
)
def test_tags_branches_and_pull_requests_hold_their_commits(hub, collect, ref):
    one = create(hub, a="old")
    commit = hub.commits.resolve(one.id)
    hub.commits.refer(one.id, Ref(ref.kind, ref.name, commit.id))
    hub.commits.commit(one.id, [put(hub, "a", "new")], SAID)
    hub.commits.squash(one.id, "main", SAID)
    collect()
    assert hub.blobs.has(digest("old"))
    assert hub.commits.resolve(one.id, ref.name) == commit
    hub.commits.forget(one.id, ref.kind, ref.name)
    collect()
    assert not hub.blobs.has(digest("old"))


def test_a_deleted_repository_goes_and_shared_bytes_stay(hub, collect, database):
    create(hub, a="shared", b="own")
    create(hub, "bob/other", a="shared")
    hub.repositories.like(hub.repositories.find("model", "alice/tiny"), "bob")
    hub.repositories.delete(hub.repositories.find("model", "alice/tiny"))
    collect(3600)
    assert hub.blobs.has(digest("own"))
    age(database, repositories)
    found = collect(3600)
    assert (found.repositories, found.commits) == (1, 1)
    assert [row.name for row in rows(database, repositories)] == ["bob/other"]
    collect()
    assert not hub.blobs.has(digest("own"))
    assert hub.blobs.has(digest("shared"))


def test_a_name_is_free_at_once_and_its_new_repository_stays(hub, collect, database):
    create(hub, a="old")
    hub.repositories.delete(hub.repositories.find("model", "alice/tiny"))
    create(hub, a="new")
    collect()
    assert not hub.blobs.has(digest("old"))
    assert hub.blobs.has(digest("new"))


def pin_release(connection, ref):
    row = {"report": {}, "verdict": {}, "digest": "", "signature": ""}
    content = {"base": "baigong/sapling@" + "0" * 64, "adapter": None, "lineage": {"dataset": ref}}
    connection.execute(
        insert(releases).values(name="r", number=1, job="j", content=content, created_at=0, **row)
    )


def pin_alias(connection, ref):
    connection.execute(insert(aliases).values(name="a:b", adapter=ref, created_at=0))


def pin_build(connection, ref):
    job = {"id": "j", "kind": "build", "name": "n", "digest": "", "state": "paused", "spec": {}}
    connection.execute(insert(jobs).values(**job, created_at=0, updated_at=0))
    step = {"job": "j", "name": "tune", "state": "done", "attempts": 1, "started_at": 0}
    connection.execute(insert(steps).values(**step, output={"adapter": ref}))


@pytest.mark.parametrize("pin", [pin_release, pin_alias, pin_build])
@pytest.mark.parametrize("length", [64, 12])
def test_what_a_release_a_name_or_a_build_stands_on_stays(hub, collect, database, pin, length):
    one = create(hub, a="pinned")
    commit = hub.commits.resolve(one.id)
    hub.commits.commit(one.id, [put(hub, "a", "new")], SAID)
    hub.commits.squash(one.id, "main", SAID)
    with database.begin() as connection:
        pin(connection, f"alice/tiny@{commit.digest[:length]}")
    assert collect().commits == 1  # the second one
    assert hub.commits.resolve(one.id, commit.digest) == commit
    assert hub.get("model", f"alice/tiny@{commit.digest}").revision == commit.digest


@pytest.mark.parametrize("settings", [Settings(mirror="huggingface"), Settings(pinned=True)])
def test_commits_of_other_hubs_stay(hub, collect, settings):
    one = create(hub, a="old")
    hub.repositories.change(one, settings=settings)
    hub.commits.mirror(one.id, "f" * 40, [put(hub, "a", "new")], SAID, "main")
    collect()
    assert all(hub.blobs.has(digest(text)) for text in ("old", "new"))


def test_what_is_awaited_stays_for_the_grace_time(hub, collect, database):
    data = hub.keep(b"sent")
    os.utime(hub.blobs.path(data.digest), (0, 0))
    hub.holdings.add("alice", data.digest)
    assert collect(3600).blobs == 0
    with database.begin() as connection:
        connection.execute(update(awaited).values(at=0))
    assert collect(3600).blobs == 1


def test_uploaded_files_stay_until_they_expire(hub, collect, database):
    files = Files(database, hub.blobs)
    kept = files.add("a", "batch", io.BytesIO(b"kept"))
    files.add("b", "batch", io.BytesIO(b"over"), expires_s=-10)
    collect()
    assert files.read(kept) == b"kept"
    assert not hub.blobs.has(digest("over"))


def test_what_is_put_again_is_as_new(hub, collect):
    entry = hub.keep(b"again")
    os.utime(hub.blobs.path(entry.digest), (0, 0))
    hub.keep(b"again")
    assert collect(3600).blobs == 0


def test_findings_and_pages_go_with_what_they_were_of(hub, collect, database):
    one = squashed(hub)
    hub.checks.look({"a": hub.keep(b"old"), "b": hub.keep(b"kept")})
    collect()
    assert [row.digest for row in rows(database, scans)] == [digest("kept")]
    assert len(rows(database, manifests)) == 2  # a list of pages, and a page
    assert len(rows(database, commits)) == 1
    assert hub.commits.files(hub.commits.resolve(one.id))


def test_checkouts_of_what_is_gone_go(hub, collect):
    one = create(hub, a="old")
    old = hub.get("model", "alice/tiny")
    hub.commits.commit(one.id, [put(hub, "a", "new")], SAID)
    hub.commits.squash(one.id, "main", SAID)
    new = hub.get("model", "alice/tiny")
    (half := new.folder.with_name("x--y@0123456789abcdef.partial")).mkdir()
    assert collect(3600).checkouts == 0
    assert collect().checkouts == 2
    assert (old.folder.exists(), half.exists(), new.folder.exists()) == (False, False, True)


def test_a_branch_cannot_be_made_on_a_commit_that_is_gone(hub, collect):
    one = create(hub, a="old")
    commit = hub.commits.resolve(one.id)
    hub.commits.commit(one.id, [put(hub, "a", "new")], SAID)
    hub.commits.squash(one.id, "main", SAID)
    collect()
    with pytest.raises(NotFound):
        hub.commits.refer(one.id, Ref("tag", "v1", commit.id))
    assert [ref.name for ref in hub.commits.refs(one.id)] == ["main"]


def test_two_do_not_collect_at_once(collect, database):
    with lease(database, "garbage"), pytest.raises(Conflict, match="garbage"):
        collect()


def test_a_file_half_written_goes_when_it_is_old(hub, collect):
    half = hub.blobs.path(hub.keep(b"x").digest).with_name("0" * 64 + ".ab#1")
    half.write_bytes(b"half")
    collect()
    assert half.exists()
    os.utime(half, (0, 0))
    collect()
    assert not half.exists()


@pytest.mark.parametrize(
    ("step", "count"),
    [(step, 1) for step in STEPS] + [("rename", 3), ("unlink", 2), ("forget", 2)],
)
def test_the_next_one_goes_on_where_one_was_killed(database, tmp_path, step, count):
    hub, garbage = open_hub(database, tmp_path)
    one = squashed(hub)
    for n in range(5):
        hub.keep(f"garbage {n}".encode())
    hub.get("model", "alice/tiny")
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.hub.collecting"]
    command += [database.url, str(tmp_path), step, str(count)]
    done = subprocess.run(command, cwd=here, env={"PYTHONPATH": f"{here}/src:{here}"}, check=False)
    assert done.returncode == -9
    assert hub.blobs.has(digest("kept"))
    assert list(hub.commits.files(hub.commits.resolve(one.id))) == ["b"]
    garbage.collect(lambda _progress: None, 0)
    assert [blob.digest for blob in hub.blobs.all()] == [digest("kept")]
    assert list((tmp_path / "blobs" / "gone").iterdir()) == []
    assert hub.get("model", "alice/tiny").folder.is_dir()
    assert hub.commits.commit(one.id, [put(hub, "a", "old")], SAID)  # what went may come again


def write(hub, name, wrong, lost):
    """Commit, forget and commit again what is being collected."""

    def keep(path, text):
        while True:
            change = put(hub, path, text)
            time.sleep(0.002)
            try:
                return hub.commits.commit(one.id, [change], SAID)
            except Lost:
                lost.append(path)

    one = create(hub, f"alice/{name}")
    for n in range(25):
        text = f"condemned {n % 3}"  # the same bytes for all writers
        keep("a", text)
        if not hub.blobs.has(digest(text)):
            wrong.append((name, n))
        hub.commits.commit(one.id, [Remove("a")], SAID)
        hub.commits.squash(one.id, "main", SAID)
    keep("last", f"last of {name}")


def test_of_a_commit_that_races_with_it_no_byte_is_lost(hub, collect):
    stop, wrong, lost = threading.Event(), [], []

    def gather():
        while not stop.is_set():
            collect(-60)  # nothing is too young

    gatherer = threading.Thread(target=gather)
    writers = [threading.Thread(target=write, args=(hub, f"m{n}", wrong, lost)) for n in range(4)]
    for thread in (gatherer, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    gatherer.join()
    assert wrong == []
    assert lost  # so they did race
    collect(-60)
    for one in hub.repositories.all():
        [(path, entry)] = hub.commits.files(hub.commits.resolve(one.id)).items()
        assert path == "last"
        assert hub.blobs.has(entry.digest)
    assert not hub.blobs.has(digest("condemned 0"))


def test_in_a_bucket_it_is_the_same(bucket, database, tmp_path):
    hub = Hub(database, Blobs(bucket), tmp_path / "cache")
    one = squashed(hub)
    found = Garbage(hub, database, tmp_path / "cache").collect(lambda _progress: None, -5)
    assert found.blobs == 1
    assert [blob.digest for blob in hub.blobs.all()] == [digest("kept")]
    with pytest.raises(Lost):
        hub.commits.commit(one.id, [Put("a", Entry(digest("old"), 3, "", ""))], SAID)
    hub.commits.commit(one.id, [put(hub, "a", "old")], SAID)
    assert hub.blobs.get(digest("old")) == b"old"
