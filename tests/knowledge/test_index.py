from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from baigong.errors import Conflict, DataProblems, InvalidInput, NotFound
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.index import KnowledgeStore
from baigong.knowledge.retrieve import search
from baigong.types import Progress
from tests.knowledge.files import HashEmbedder, make_pdf

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    return KnowledgeStore(tmp_path / "vectors")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "sub").mkdir(parents=True)
    (folder / "refund.md").write_text("# Refunds\n\nRefunds take 5 days.", encoding="utf-8")
    (folder / "sub" / "泵.txt").write_text("水泵的最高温度是 85 度。", encoding="utf-8")
    return folder


def table_folders(store: KnowledgeStore) -> set[str]:
    found = {path.name for path in Path(store.url).glob("*.lance")}
    return found - {"catalog.lance"}


def test_build_counts_and_reports(store: KnowledgeStore, sources: Path) -> None:
    seen: list[Progress] = []
    version = store.build("产品 manual", [sources], report=seen.append)
    assert (version.documents, version.chunks, version.embedder) == (2, 2, None)
    assert version.bytes == sum(p.stat().st_size for p in sources.rglob("*.*"))
    assert seen[-1].done == seen[-1].total == version.bytes
    assert store.names() == ["产品 manual"]
    assert store.versions("产品 manual") == [version]
    assert store.get("产品 manual") == store.get(version.ref) == version
    assert [document.path for document in store.documents(version.ref)] == [
        "refund.md",
        "sub/泵.txt",
    ]


def test_building_the_same_again_does_nothing(store: KnowledgeStore, sources: Path) -> None:
    first = store.build("kb", [sources])
    before = table_folders(store)
    seen: list[Progress] = []
    assert store.build("kb", [sources], report=seen.append) == first
    assert KnowledgeStore(store.url).build("kb", [sources]) == first
    assert (table_folders(store), seen) == (before, [])


def test_what_decides_the_content_decides_the_version(store: KnowledgeStore, sources: Path) -> None:
    first = store.build("kb", [sources])
    smaller = store.build("kb", [sources], chunking=Chunking(characters=100))
    (sources / "new.txt").write_text("more")
    more = store.build("kb", [sources])
    assert len({first.version, smaller.version, more.version}) == 3
    assert [version.version for version in store.versions("kb")] == [
        more.version,
        smaller.version,
        first.version,
    ]


def test_the_bare_name_is_what_was_built_last(store: KnowledgeStore, sources: Path) -> None:
    first = store.build("kb", [sources])
    (sources / "new.txt").write_text("more")
    store.build("kb", [sources])
    (sources / "new.txt").unlink()
    store.build("kb", [sources])
    assert store.get("kb").version == first.version


def test_text_outlives_the_source_files(store: KnowledgeStore, sources: Path) -> None:
    version = store.build("kb", [sources])
    (sources / "sub" / "泵.txt").unlink()
    assert store.text(version.ref, "sub/泵.txt") == "水泵的最高温度是 85 度。"


def test_bad_files_become_warnings(store: KnowledgeStore, sources: Path, tmp_path: Path) -> None:
    (sources / "broken.pdf").write_bytes(make_pdf([["x"]])[:200])
    (sources / "empty.txt").touch()
    (sources / "film.mp4").write_bytes(b"PK")
    (sources / ".hidden.txt").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    (sources / "escape.txt").symlink_to(tmp_path / "outside.txt")
    (sources / "up").symlink_to(tmp_path)
    (sources / "loop.txt").symlink_to(sources / "loop.txt")
    (sources / "inside.txt").symlink_to(sources / "refund.md")
    os.mkfifo(sources / "pipe.txt")
    version = store.build("kb", [sources])
    assert {problem.file for problem in version.warnings} == {
        "broken.pdf",
        "empty.txt",
        "*.mp4",
        "escape.txt",
        "up",
        "loop.txt",
        "pipe.txt",
    }
    documents = [document.path for document in store.documents("kb")]
    assert documents == ["inside.txt", "refund.md", "sub/泵.txt"]
    assert search(store, "kb", "secret") == []


def test_nothing_left_is_an_error(store: KnowledgeStore, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    with pytest.raises(DataProblems, match="holds no files"):
        store.build("kb", [folder])
    (folder / "broken.pdf").write_bytes(b"%PDF-")
    with pytest.raises(DataProblems, match=r"broken\.pdf"):
        store.build("kb", [folder])
    assert (store.names(), table_folders(store)) == ([], set())


def test_wrong_names_and_sources_are_refused(store: KnowledgeStore, sources: Path) -> None:
    for name in ("", "a@b", "a/b", "x" * 101):
        with pytest.raises(InvalidInput, match="not a name"):
            store.build(name, [sources])
    with pytest.raises(InvalidInput, match="no file or folder"):
        store.build("kb", [sources / "nope"])
    (sources / "sub" / "refund.md").write_text("other")
    with pytest.raises(InvalidInput, match="different files"):
        store.build("kb", [sources, sources / "sub"])


def test_unknown_things_suggest_near_ones(store: KnowledgeStore, sources: Path) -> None:
    with pytest.raises(NotFound, match="knowledge base"):
        store.get("kb")
    store.build("support", [sources])
    with pytest.raises(NotFound, match="Did you mean support"):
        store.text("suport", "refund.md")
    with pytest.raises(NotFound, match=r"Did you mean refund\.md"):
        store.text("support", "refunds.md")
    with pytest.raises(NotFound, match="o'clock"):
        store.text("support", "o'clock.md")
    with pytest.raises(NotFound, match="support@"):
        store.get("support@000000000000")


def test_delete_takes_a_version_or_all(store: KnowledgeStore, sources: Path) -> None:
    first = store.build("kb", [sources])
    other = store.build("kb other", [sources])
    second = store.build("kb", [sources], chunking=Chunking(characters=100))
    store.delete(first.ref)
    assert store.versions("kb") == [second]
    with pytest.raises(NotFound):
        search(store, first.ref, "refunds")
    assert search(store, second.ref, "refunds")
    store.delete("kb")
    assert store.names() == ["kb other"]
    assert search(store, other.ref, "refunds")
    with pytest.raises(NotFound):
        store.delete("kb")


def test_a_deletion_elsewhere_is_noticed(store: KnowledgeStore, sources: Path) -> None:
    version = store.build("kb", [sources])
    assert store.text(version.ref, "refund.md")
    KnowledgeStore(store.url).delete("kb")
    with pytest.raises(NotFound):
        store.text(version.ref, "refund.md")
    KnowledgeStore(store.url).build("kb", [sources])
    assert store.text(version.ref, "refund.md")


def test_a_failed_build_leaves_nothing(store: KnowledgeStore, sources: Path) -> None:
    with pytest.raises(InvalidInput, match="one vector of 7 floats"):
        store.build("kb", [sources], embed=WrongSize())
    assert (store.names(), table_folders(store)) == ([], set())


class WrongSize(HashEmbedder):
    size = 7

    async def __call__(self, texts: object) -> list[list[float]]:
        return await HashEmbedder()(["x"])


KILLED = """
import sys, time
from pathlib import Path
from baigong.knowledge.index import KnowledgeStore
from tests.knowledge.files import HashEmbedder

class Stuck(HashEmbedder):
    async def __call__(self, texts):
        print("embedding", flush=True)
        time.sleep(100)

KnowledgeStore(sys.argv[1]).build("kb", [Path(sys.argv[2])], embed=Stuck())
"""


def test_a_killed_build_is_invisible_and_made_good(store: KnowledgeStore, sources: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, store.url, str(sources)], stdout=subprocess.PIPE, cwd=ROOT
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"embedding\n"
        with pytest.raises(Conflict, match="being built"):
            store.build("kb", [sources], embed=HashEmbedder())
        child.send_signal(signal.SIGKILL)
    assert store.names() == []
    half_made = table_folders(store)
    assert len(half_made) == 2
    version = store.build("kb", [sources], embed=HashEmbedder())
    assert table_folders(store) == half_made  # the same names, made anew
    assert (version.documents, version.embedder) == (2, "hash-3")
    assert search(store, "kb", "refunds", embed=HashEmbedder())


def test_leftovers_of_other_versions_are_dropped(store: KnowledgeStore, sources: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, store.url, str(sources)], stdout=subprocess.PIPE, cwd=ROOT
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    half_made = table_folders(store)
    store.build("kb", [sources])
    assert not half_made & table_folders(store)


FULL = """
import resource, sys
from pathlib import Path
from baigong.errors import StorageFull
from baigong.knowledge.index import KnowledgeStore

store = KnowledgeStore(sys.argv[1])
store.names()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    store.build("kb", [Path(sys.argv[2])])
except StorageFull as error:
    print(error.hint)
"""


def test_a_full_disk_is_storage_full_and_leaves_nothing(
    store: KnowledgeStore, sources: Path
) -> None:
    (sources / "long.txt").write_text("\n".join(os.urandom(500).hex() for _ in range(500)))
    done = subprocess.run(
        [sys.executable, "-c", FULL, store.url, str(sources)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Free some space" in done.stdout
    assert (store.names(), table_folders(store)) == ([], set())
    assert store.build("kb", [sources]).documents == 3
