import io
import tarfile

import pytest

from baigong.errors import InvalidInput, NotFound, Refused
from baigong.hub.bundle import pack, signer_of, unpack
from baigong.hub.commits import Put, Words
from baigong.hub.hub import Hub
from baigong.store.blobs import Blobs
from baigong.store.database import Database
from baigong.store.secret import Secret

WEIGHTS = bytes(range(256)) * 9000


def quiet(_progress):
    pass


class Place:
    """An installation of its own."""

    def __init__(self, folder):
        self.secret = Secret(folder)
        self.hub = Hub(Database.in_folder(folder), Blobs(str(folder / "blobs")), folder / "cache")


@pytest.fixture
def here(tmp_path):
    place = Place(tmp_path / "here")
    puts = [
        Put("README.md", place.hub.keep(b"# Tiny")),
        Put("deep/weights", place.hub.keep(WEIGHTS)),
        Put("copy", place.hub.keep(WEIGHTS)),
    ]
    place.hub.repositories.create("model", "acme/tiny", puts, Words("First", "acme"), private=True)
    return place


@pytest.fixture
def there(tmp_path):
    return Place(tmp_path / "there")


@pytest.fixture
def bundle(here, tmp_path):
    one = here.hub.repositories.find("model", "acme/tiny")
    path = tmp_path / "bundle.tar"
    pack(here.hub, here.secret, [(one, here.hub.commits.resolve(one.id))], path, quiet)
    return path


def rewritten(bundle, name, change):
    """The bundle with one member's bytes changed."""
    path = bundle.with_name("changed.tar")
    with tarfile.open(bundle) as old, tarfile.open(path, "w") as new:
        for member in old:
            data = old.extractfile(member).read()
            data = change(data) if member.name.startswith(name) else data
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return path


def test_a_repository_arrives_with_its_commit_and_every_byte(here, there, bundle):
    unpack(there.hub, bundle, [signer_of(here.secret)], quiet)
    one = there.hub.repositories.find("model", "acme/tiny")
    assert (one.private, one.settings.pinned) == (True, True)
    old = here.hub.repositories.find("model", "acme/tiny")
    assert one.head == old.head
    kept = there.hub.get("model", "acme/tiny")
    assert kept.revision == here.hub.get("model", "acme/tiny").revision
    assert (kept.folder / "deep" / "weights").read_bytes() == WEIGHTS


def test_equal_files_are_in_it_once(bundle):
    assert bundle.stat().st_size < 2 * len(WEIGHTS)


def test_a_newer_bundle_moves_the_branch_and_the_same_one_again_does_nothing(
    here, there, bundle, tmp_path
):
    trusted, one = [signer_of(here.secret)], here.hub.repositories.find("model", "acme/tiny")
    unpack(there.hub, bundle, trusted, quiet)
    change = [Put("new.txt", here.hub.keep(b"new"))]
    made = here.hub.commits.commit(one.id, change, Words("Second", "acme"))
    newer = tmp_path / "newer.tar"
    pack(here.hub, here.secret, [(one, made)], newer, quiet)
    for _ in range(2):
        unpack(there.hub, newer, trusted, quiet)
    assert there.hub.repositories.find("model", "acme/tiny").head == made.id


def test_who_is_not_trusted_is_named_and_nothing_is_taken(there, here, bundle):
    with pytest.raises(Refused, match=f"--trust {signer_of(here.secret)}"):
        unpack(there.hub, bundle, [signer_of(there.secret)], quiet)
    assert there.hub.repositories.all() == []


@pytest.mark.parametrize(
    ("name", "change", "error", "why"),
    [
        ("bundle.json", lambda d: d.replace(b"acme/tiny", b"evil/tiny"), Refused, "signed"),
        ("blobs/", lambda d: d[:-1] + b"x", InvalidInput, "sha256"),
        ("blobs/", lambda d: d[:-1], InvalidInput, "not the file that is listed"),
        ("bundle.sig", lambda d: b"{", InvalidInput, "not a whole bundle"),
    ],
)
def test_a_changed_byte_is_refused_and_no_repository_is_half_there(
    here, there, bundle, name, change, error, why
):
    with pytest.raises(error, match=why):
        unpack(there.hub, rewritten(bundle, name, change), [signer_of(here.secret)], quiet)
    assert there.hub.repositories.all() == []


def test_a_bundle_that_is_cut_off_is_refused_and_the_whole_one_goes_on(here, there, bundle):
    trusted, cut = [signer_of(here.secret)], bundle.with_name("cut.tar")
    cut.write_bytes(bundle.read_bytes()[: len(WEIGHTS) // 2])
    with pytest.raises(InvalidInput, match=r"cut\.tar"):
        unpack(there.hub, cut, trusted, quiet)
    assert there.hub.repositories.all() == []
    unpack(there.hub, bundle, trusted, quiet)


def test_what_is_no_bundle_is_told(there, tmp_path):
    path = tmp_path / "letter.tar"
    path.write_text("Dear all")
    with pytest.raises(InvalidInput, match="not a whole bundle"):
        unpack(there.hub, path, [], quiet)


def test_a_repository_with_bytes_elsewhere_is_not_packed(here, tmp_path):
    here.hub.blobs.delete(here.hub.keep(WEIGHTS).digest)
    one = here.hub.repositories.find("model", "acme/tiny")
    wanted = [(one, here.hub.commits.resolve(one.id))]
    with pytest.raises(NotFound, match="not here yet"):
        pack(here.hub, here.secret, wanted, tmp_path / "b.tar", quiet)
    assert not list(tmp_path.glob("b.tar*"))
