"""Files that are made of xorbs: as they should be, of what was sent before, and of harmful ones."""

import os
import random
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import delete, select

from baigong.errors import InvalidInput
from baigong.hub.holdings import Holdings
from baigong.hub.xet.ledger import LostXorb
from baigong.hub.xet.store import Xorbs
from baigong.store.blobs import Blobs
from baigong.store.hub_tables import awaited
from tests.hub.xorbs import chunk, file, named, sha, shard

rng = random.Random(7)
FLOATS = b"".join(rng.randbytes(2) + b"\x80\x3f" for _ in range(9_001))[:-1]
A, B, C = rng.randbytes(50_000), FLOATS, b"text " * 5_000


class Sending:
    """A client with a namespace of its own."""

    def __init__(self, xorbs, namespace="alice", client="one"):
        self.xorbs, self.namespace, self.client = xorbs, namespace, client

    def xorb(self, *chunks, piece=1000, name=""):
        content = b"".join(chunks)
        name = name or named(content)
        with self.xorbs.receive(self.namespace, name, self.client) as arriving:
            for at in range(0, len(content), piece):
                arriving.writelines([content[at : at + piece]])
            arriving.finish()
        return name

    def file(self, terms, data, **kwargs):
        return self.xorbs.build(self.namespace, shard(file(terms, sha(data), **kwargs)))


@pytest.fixture(params=["folder"])
def blobs(request, tmp_path):
    if request.param == "folder":
        return Blobs(str(tmp_path / "blobs"))
    return Blobs(f"{request.getfixturevalue('bucket')}/below")


on_both = pytest.mark.parametrize("blobs", ["folder", "bucket"], indirect=True)


@pytest.fixture
def aside(blobs):
    return blobs.beside("aside")


@pytest.fixture
def held(database, blobs):
    return Holdings(database, blobs)


@pytest.fixture
def xorbs(database, blobs, aside, held):
    with closing(Xorbs(database, blobs, aside, held)) as xorbs:
        yield xorbs


@pytest.fixture
def alice(xorbs):
    return Sending(xorbs)


def left(blobs):
    """Files on their way, or aside."""
    if blobs.root is None:
        return list(blobs.beside("aside").all())
    folders = ("incoming", "aside")
    return [f for name in folders for f in (blobs.root / name).rglob("*") if f.is_file()]


@pytest.mark.parametrize("piece", [1, 7, 4_096, 1 << 20])
def test_chunks_come_out_of_every_scheme(alice, blobs, piece):
    data = A[:300] + B[:301] + C[:303]
    parts = chunk(A[:300]), chunk(B[:301], 2), chunk(C[:303], 1)
    name = alice.xorb(*parts, piece=piece)
    alice.file([(name, 0, 3, len(data))], data)
    assert blobs.get(sha(data)) == data


def test_a_footer_is_passed_over(alice, blobs):
    name = alice.xorb(chunk(A), b"XETBLOB\1" + bytes(5_000), piece=777)
    alice.file([(name, 0, 1, len(A))], A)
    assert blobs.get(sha(A)) == A


@on_both
def test_what_is_in_files_is_kept_once(alice, blobs):
    first, second = alice.xorb(chunk(A), chunk(B, 1)), alice.xorb(chunk(C))
    data = B + C + A
    terms = [(first, 1, 2, len(B)), (second, 0, 1, len(C)), (first, 0, 1, len(A))]
    assert alice.file(terms, data) == [sha(data)]
    assert blobs.get(sha(data)) == data
    assert left(blobs) == []


def test_xorbs_in_order_are_the_file_already(alice, blobs):
    data = A + B + C
    names = alice.xorb(chunk(A), chunk(B, 1)), alice.xorb(chunk(C, 1))
    [path] = left(blobs)
    inode = path.stat().st_ino
    alice.file([(names[0], 0, 2, len(A + B)), (names[1], 0, 1, len(C))], data)
    [kept] = blobs.all()
    assert (kept.digest, left(blobs)) == (sha(data), [])
    assert (blobs.root / sha(data)[:2] / sha(data)).stat().st_ino == inode


@on_both
def test_a_xorb_that_breaks_off_does_not_spoil_those_around_it(alice, blobs):
    first = alice.xorb(chunk(A))
    with pytest.raises(InvalidInput, match="middle of a chunk"):
        alice.xorb(chunk(B), chunk(C)[:-1])
    second = alice.xorb(chunk(B))
    alice.file([(first, 0, 1, len(A)), (second, 0, 1, len(B))], A + B)
    assert blobs.get(sha(A + B)) == A + B
    assert left(blobs) == []


@on_both
def test_later_files_are_made_of_earlier_ones(alice, xorbs, blobs):
    first = alice.xorb(chunk(A), chunk(B), chunk(C))
    alice.file([(first, 0, 3, len(A + B + C))], A + B + C)
    second = alice.xorb(chunk(b"new"))
    data = A + b"new" + C + A
    terms = [(first, 0, 1, len(A)), (second, 0, 1, 3), (first, 2, 3, len(C)), (first, 0, 1, len(A))]
    alice.file(terms, data)
    third = [(second, 0, 1, 3), (first, 1, 3, len(B + C))]
    alice.file(third, b"new" + B + C)
    assert blobs.get(sha(data)) == data
    assert blobs.get(sha(b"new" + B + C)) == b"new" + B + C
    assert left(blobs) == []


@on_both
def test_a_xorb_waits_until_all_of_it_is_in_files(alice, blobs):
    name = alice.xorb(chunk(A), chunk(B), chunk(C))
    alice.file([(name, 0, 1, len(A))], A)
    assert len(left(blobs)) == 1
    alice.file([(name, 1, 3, len(B + C)), (name, 0, 1, len(A))], B + C + A)
    assert left(blobs) == []
    alice.file([(name, 0, 2, len(A + B))], A + B)
    assert blobs.get(sha(A + B)) == A + B


@on_both
def test_two_at_once_do_not_mix(alice, blobs):
    xorbs, parts = alice.xorbs, (chunk(A), chunk(B))
    with xorbs.receive("alice", "1" * 64, "one") as one:
        one.writelines([parts[0][:999]])
        with xorbs.receive("alice", "2" * 64, "one") as two:
            two.writelines([parts[1]])
            two.finish()
        one.writelines([parts[0][999:]])
        one.finish()
    alice.file([("1" * 64, 0, 1, len(A)), ("2" * 64, 0, 1, len(B))], A + B)
    assert blobs.get(sha(A + B)) == A + B
    assert left(blobs) == []


@on_both
def test_a_server_that_was_killed_goes_on_from_what_is_there(alice, database, blobs, aside, held):
    names = alice.xorb(chunk(A)), alice.xorb(chunk(B))
    with closing(Xorbs(database, blobs, aside, held)) as another:
        again = Sending(another)
        third = again.xorb(chunk(C))
        terms = [(names[0], 0, 1, len(A)), (names[1], 0, 1, len(B)), (third, 0, 1, len(C))]
        again.file(terms, A + B + C)
    assert blobs.get(sha(A + B + C)) == A + B + C
    assert left(blobs) == []


def test_an_empty_file(alice, blobs):
    alice.file([], b"")
    assert blobs.get(sha(b"")) == b""


def test_the_same_shard_again_makes_nothing_but_waits_for_a_commit(alice, database):
    name = alice.xorb(chunk(A))
    assert alice.file([(name, 0, 1, len(A))], A) == [sha(A)]
    with database.begin() as connection:
        connection.execute(delete(awaited))
    assert alice.file([(name, 0, 1, len(A))], A) == []
    with database.read() as connection:
        assert connection.scalars(select(awaited.c.digest)).all() == [sha(A)]


def test_other_bytes_than_announced_are_not_kept(alice, xorbs, blobs, held):
    name, before = alice.xorb(chunk(A), chunk(B)), xorbs.losses("alice")
    for terms in ([(name, 1, 2, len(B)), (name, 0, 1, len(A))], [(name, 0, 2, len(A + B))]):
        with pytest.raises(InvalidInput, match="sha256"):
            alice.file(terms, b"other")
    assert list(blobs.all()) == []
    assert not held.has(sha(b"other"), "alice")
    assert xorbs.losses("alice") > before


def test_xorbs_are_a_namespaces(alice, xorbs):
    name = alice.xorb(chunk(A))
    bob = Sending(xorbs, "bob")
    with pytest.raises(LostXorb):
        bob.file([(name, 0, 1, len(A))], A)
    alice.file([(name, 0, 1, len(A))], A)
    with pytest.raises(LostXorb):
        bob.file([(name, 0, 1, len(A))], A)
    assert (xorbs.losses("alice"), xorbs.losses("bob")) == (0, 2)


def test_files_are_a_namespaces(alice, held):
    name = alice.xorb(chunk(A))
    alice.file([(name, 0, 1, len(A))], A)
    assert held.has(sha(A), "bob", "Alice")
    assert not held.has(sha(A), "bob")


@on_both
def test_a_xorb_sent_again_is_taken_for_the_old_one(alice, blobs):
    wrong = alice.xorb(chunk(B), name="3" * 64)
    alice.file([(wrong, 0, 1, len(B))], B)
    alice.xorb(chunk(A), name=wrong)
    alice.file([(wrong, 0, 1, len(A))], A)
    assert blobs.get(sha(A)) == A
    assert left(blobs) == []


@on_both
def test_no_file_is_made_of_what_is_deleted(alice, xorbs, blobs, held):
    kept, gone = alice.xorb(chunk(A)), alice.xorb(chunk(B))
    alice.file([(gone, 0, 1, len(B))], B)
    alice.file([(kept, 0, 1, len(A))], A)
    xorbs.forget([sha(B)])
    blobs.delete(sha(B))
    assert xorbs.losses("alice") == 1
    assert not held.has(sha(B), "alice")
    with pytest.raises(LostXorb):
        alice.file([(gone, 0, 1, len(B)), (kept, 0, 1, len(A))], B + A)
    alice.xorb(chunk(B))
    alice.file([(gone, 0, 1, len(B)), (kept, 0, 1, len(A))], B + A)
    assert blobs.get(sha(B + A)) == B + A


def test_leftovers_go_when_they_are_old(alice, xorbs, blobs):
    name = alice.xorb(chunk(A))
    with blobs.receive() as incoming:
        (blobs.root / "incoming" / "half").write_bytes(b"half")
        incoming.write(b"whole")
    xorbs.clear_leftovers()
    assert len(left(blobs)) == 2
    for path in left(blobs):
        os.utime(path, (1, 1))
    xorbs.clear_leftovers(0)
    assert left(blobs) == []
    assert xorbs.losses("alice") == 1
    with pytest.raises(LostXorb):
        alice.file([(name, 0, 1, len(A))], A)


BOMB = chunk(bytes(100_000), 1, size=10)
HARMFUL_XORBS = {
    "nothing": b"",
    "half a header": chunk(A)[:5],
    "half a chunk": chunk(A)[:-1],
    "another version": chunk(A, version=1),
    "a scheme of tomorrow": chunk(A)[:4] + b"\3" + chunk(A)[5:],
    "no bytes": chunk(b""),
    "a chunk too large": chunk(bytes((128 << 10) + 1), 1),
    "a frame that holds more": BOMB,
    "a frame that holds less": chunk(A, 1, size=len(A) + 1),
    "no frame": chunk(A)[:4] + b"\1" + chunk(A)[5:],
    "packed to more than it is": chunk(bytes(100_000), size=10),
    "too many chunks": chunk(b"x") * (8 * 1024 + 1),
    "too many bytes": chunk(bytes(128 << 10), 1) * 513,
}


@pytest.mark.parametrize("content", HARMFUL_XORBS.values(), ids=HARMFUL_XORBS)
def test_a_harmful_xorb_is_refused_and_leaves_nothing(alice, blobs, content):
    with pytest.raises(InvalidInput, match="not a xorb"):
        alice.xorb(content, piece=1 << 20)
    assert left(blobs) == []


@pytest.mark.parametrize(
    "terms",
    [
        [("X", 0, 3, len(A + B))],
        [("X", 1, 1, 0)],
        [("X", 1, 0, len(A))],
        [("X", 2, 1 << 31, len(A))],
        [("X", 0, 2, len(A + B) - 1)],
        [("X", 0, 1, len(A)), ("f" * 63 + "e", 0, 1, 5)],
    ],
    ids=str,
)
def test_terms_outside_a_xorb_are_refused(alice, blobs, terms):
    name = alice.xorb(chunk(A), chunk(B))
    terms = [(name if xorb == "X" else xorb, *rest) for xorb, *rest in terms]
    with pytest.raises(InvalidInput):
        alice.file(terms, A)
    assert list(blobs.all()) == []


HARMFUL_SHARDS = {
    "nothing": b"",
    "no shard": bytes(10_000),
    "no end": shard()[:-48] + file([], sha(b"")),
    "more terms than there are": shard(file([("1" * 64, 0, 1, 5)], sha(A), count=1 << 31)),
    "a petabyte": shard(file([("1" * 64, 0, 1, (1 << 32) - 1)] * 1_000, sha(A))),
}


@pytest.mark.parametrize("content", HARMFUL_SHARDS.values(), ids=HARMFUL_SHARDS)
def test_a_harmful_shard_is_refused(alice, blobs, content):
    alice.xorb(chunk(A), name="1" * 64)
    with pytest.raises(InvalidInput):
        alice.xorbs.build("alice", content)
    assert list(blobs.all()) == []


def test_a_file_of_one_chunk_over_and_over(alice, blobs):
    name, data = alice.xorb(chunk(bytes(1000), 1)), bytes(1000) * 3_000
    alice.file([(name, 0, 1, 1000)] * 3_000, data)
    assert blobs.get(sha(data)) == data
    assert left(blobs) == []


FULL = """
import resource, sys
from pathlib import Path
from baigong.errors import StorageFull
from baigong.hub.holdings import Holdings
from baigong.hub.xet.store import Xorbs
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from tests.hub.xorbs import chunk, file, sha, shard

database, blobs = Database.in_folder(Path(sys.argv[1])), Blobs(f"{sys.argv[1]}/blobs")
xorbs = Xorbs(database, blobs, blobs.beside("aside"), Holdings(database, blobs))
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
data = bytes(range(256)) * 400

def send(name, chunks):
    with xorbs.receive("alice", name, "one") as arriving:
        arriving.writelines([chunk(data) * chunks])
        arriving.finish()

send("2" * 64, 20)
for work in (
    lambda: send("1" * 64, 20),
    lambda: xorbs.build("alice", shard(file([("2" * 64, 0, 20, 20 * len(data))] * 2, sha(data)))),
):
    try:
        work()
    except StorageFull as error:
        print(error.status, error)
"""


def test_a_full_disk_is_told_and_nothing_half_is_left(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.stdout.count("507 There is no room left") == 2, run.stderr
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
    assert all(f.stat().st_size < 3_000_000 for f in (tmp_path / "blobs").rglob("*") if f.is_file())
