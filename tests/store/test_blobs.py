import hashlib
import subprocess
import sys

import pytest

from baigong.errors import NotFound
from baigong.store.blobs import Blobs


@pytest.fixture(params=["folder", "bucket"])
def blobs(request, tmp_path):
    is_folder = request.param == "folder"
    return Blobs(
        str(tmp_path / "blobs") if is_folder else f"{request.getfixturevalue('bucket')}/below"
    )


def test_a_blob_is_named_by_the_sha256_of_its_bytes(blobs):
    digest = blobs.put("百工".encode())
    assert digest == hashlib.sha256("百工".encode()).hexdigest()
    assert blobs.get(digest).decode() == "百工"


def test_storing_the_same_bytes_twice_is_one_blob(blobs, tmp_path):
    (tmp_path / "file").write_bytes(b"same")
    digest = blobs.put(b"same")
    assert blobs.put_file(tmp_path / "file") == (digest, 4)
    assert blobs.put(b"same") == digest
    if blobs.root is not None:
        assert len([p for p in blobs.root.rglob("*") if p.is_file()]) == 1


@pytest.mark.parametrize("size", [0, 5, 13 << 20])  # the last goes to a bucket in parts
def test_a_fetched_file_has_the_bytes(blobs, tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    digest, stored = blobs.put_file(tmp_path / "file")
    blobs.fetch(digest, tmp_path / "deep" / "file")
    assert (tmp_path / "deep" / "file").read_bytes() == data[:size] == blobs.get(digest)
    assert stored == size


def test_an_unknown_blob_is_not_found(blobs, tmp_path):
    with pytest.raises(NotFound):
        blobs.get("0" * 64)
    with pytest.raises(NotFound):
        blobs.fetch("0" * 64, tmp_path / "file")


FULL = """
import resource, signal, sys
from baigong.errors import StorageFull
from baigong.store.blobs import Blobs
blobs = Blobs(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    blobs.put(b"x" * 100_000)
except StorageFull as error:
    print("full:", error.hint)
"""


def test_a_disk_without_room_is_named_and_leaves_no_half_blob(tmp_path):
    """The kernel's file-size limit stands in for the end of the disk: the write fails midway."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "b")], capture_output=True, text=True
    )
    assert done.stdout.startswith("full:"), done.stderr
    assert not any(len(p.name) == 64 for p in (tmp_path / "b").rglob("*") if p.is_file())
