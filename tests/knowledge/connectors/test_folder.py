from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from baigong.errors import InvalidInput
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.connectors.source import Entry, Gone
from baigong.knowledge.formats import Unreadable
from tests.knowledge.connectors.site import Reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("alpha")
    (folder / "sub" / "泵.txt").write_text("beta")
    return folder


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The looker's clock goes ahead: no file was changed just now."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 60)


def test_only_what_changed_is_read_again(folder: Path, later: None) -> None:
    reader = Reader()
    assert reader.look(Folder(folder)) == ["a.md", "sub/泵.txt"]
    assert reader.look(Folder(folder)) == []
    (folder / "a.md").write_text("gamma")
    (folder / "new.txt").write_text("delta")
    assert reader.look(Folder(folder)) == ["a.md", "new.txt"]
    assert reader.documents["a.md"].data == b"gamma"


def test_a_change_that_keeps_size_and_time_is_seen(folder: Path, later: None) -> None:
    reader = Reader()
    reader.look(Folder(folder))
    before = (folder / "a.md").stat()
    (folder / "a.md").write_text("ALPHA")
    os.utime(folder / "a.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.look(Folder(folder)) == ["a.md"]


def test_a_file_changed_just_now_is_read_again_the_next_time(folder: Path) -> None:
    reader = Reader()
    reader.look(Folder(folder))
    assert reader.look(Folder(folder)) == ["a.md", "sub/泵.txt"]  # the clock might be too coarse


def test_what_was_deleted_is_no_longer_listed(folder: Path, later: None) -> None:
    reader = Reader()
    reader.look(Folder(folder))
    (folder / "a.md").unlink()
    assert reader.look(Folder(folder)) == []
    assert list(reader.documents) == ["sub/泵.txt"]


def test_a_file_that_goes_between_listing_and_reading_is_gone(folder: Path) -> None:
    source = Folder(folder)
    listing = source.list()
    (folder / "a.md").unlink()
    with pytest.raises(Gone):
        source.read(listing.entries[0], None)
    with pytest.raises(Gone):
        source.read(Entry("never.md"), None)


def test_a_file_replaced_by_a_link_or_pipe_after_listing_is_not_read(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.md").write_text("secret")
    source = Folder(folder)
    entries = {entry.path: entry for entry in source.list().entries}
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to(tmp_path / "secret.md")
    (folder / "sub" / "泵.txt").unlink()
    os.mkfifo(folder / "sub" / "泵.txt")
    for entry in entries.values():
        with pytest.raises(Unreadable):
            source.read(entry, None)


def test_a_file_that_is_being_written_to_is_never_half_of_each(folder: Path) -> None:
    path, stop = folder / "a.md", threading.Event()
    path.write_bytes(b"a" * 2_000_000)

    def write() -> None:
        while not stop.is_set():
            for letter in (b"a", b"b"):
                path.write_bytes(letter * 2_000_000)

    writer = threading.Thread(target=write)
    writer.start()
    source, outcomes = Folder(folder), set()
    try:
        for _ in range(50):
            with contextlib.suppress(Unreadable):  # which says that it is being written to
                content = source.read(Entry("a.md"), None)
                assert content is not None
                outcomes.add(content.data)
    finally:
        stop.set()
        writer.join()
    assert all(len(set(data)) <= 1 for data in outcomes)
    content = source.read(Entry("a.md"), None)
    assert content is not None and content.data == b"b" * 2_000_000


def test_what_is_passed_over_is_told_once_each(folder: Path, tmp_path: Path) -> None:
    (folder / "one.xyz").write_bytes(b"?")
    (folder / "two.XYZ").write_bytes(b"?")
    (folder / ".hidden.md").write_text("secret")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.md").write_text("secret")
    (tmp_path / "outside.md").write_text("outside")
    (folder / "escape.md").symlink_to(tmp_path / "outside.md")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "inside.md").symlink_to(folder / "a.md")
    os.mkfifo(folder / "pipe.md")
    with (folder / "large.md").open("wb") as file:
        file.truncate((256 << 20) + 1)
    listing = Folder(folder).list()
    assert [entry.path for entry in listing.entries] == ["a.md", "inside.md", "sub/泵.txt"]
    assert {problem.file: problem.message for problem in listing.problems} == {
        "*.xyz": "2 files of a kind that we do not read; skipped.",
        "escape.md": "is a link that leaves the folder; not followed.",
        "up": "is a link that leaves the folder; not followed.",
        "loop.md": "is a link to nothing; skipped.",
        "pipe.md": "is not a plain file; skipped.",
        "large.md": "is larger than 256 MB; skipped.",
    }


def test_names_that_are_not_utf8_can_be_read(folder: Path) -> None:
    path = os.fsencode(folder) + b"/caf\xe9.txt"
    with open(path, "wb") as file:
        file.write(b"latin")
    source = Folder(folder)
    entry = next(entry for entry in source.list().entries if entry.path.startswith("caf"))
    content = source.read(entry, None)
    assert content is not None and content.data == b"latin"
    entry.path.encode()


def test_a_single_file_is_a_source_and_a_missing_one_is_refused(folder: Path) -> None:
    reader = Reader()
    assert reader.look(Folder(folder / "a.md")) == ["a.md"]
    with pytest.raises(InvalidInput, match="There is no file or folder"):
        Folder(folder / "nope").list()


def test_one_name_for_one_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    names = {Folder(Path(text)).name for text in ("docs", "./docs/", "docs/sub/..", str(folder))}
    assert names == {str(folder)}
