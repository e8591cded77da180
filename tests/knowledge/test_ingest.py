"""A knowledge base follows its sources, version by version, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.connectors.source import Content, Entry, Listing
from baigong.knowledge.formats import Unreadable
from baigong.knowledge.ingest import ingest
from baigong.store.database import Database
from baigong.types import Progress
from tests.knowledge.bases import keep, open_bases, search, sync
from tests.knowledge.files import HashEmbedder, make_pdf

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bases(database: Database, tmp_path: Path) -> KnowledgeBases:
    return open_bases(tmp_path / "store", database)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "sub").mkdir(parents=True)
    (folder / "refund.md").write_text("# Refunds\n\nRefunds take 5 days.", encoding="utf-8")
    (folder / "sub" / "泵.txt").write_text("水泵的最高温度是 85 度。", encoding="utf-8")
    age(folder)
    return folder


def age(folder: Path) -> None:
    """What was written just now is read again to be sure; this was written a minute ago."""
    then = time.time() - 60
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def documents(bases: KnowledgeBases, knowledge: str = "kb") -> list[str]:
    return [document.path for document in bases.documents(knowledge)]


class Counting(HashEmbedder):
    """Remembers what it embedded."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.seen += texts
        return await super().__call__(texts)


class Held:
    """A source that a test holds in its hands."""

    name = "held"

    def __init__(self, *, forgets: bool = True, **texts: str) -> None:
        self.forgets = forgets
        self.contents = {
            f"{path}.txt": Content(text.encode(), stamp=text) for path, text in texts.items()
        }
        self.read_paths: list[str] = []

    def list(self) -> Listing:
        return Listing(tuple(Entry(path, content.stamp) for path, content in self.contents.items()))

    def read(self, entry: Entry, stamp: str | None) -> Content | None:
        self.read_paths.append(entry.path)
        content = self.contents[entry.path]
        if content.data == b"broken":
            raise Unreadable("does not answer.")
        return None if content.stamp is not None and content.stamp == stamp else content


def put(source: Held, path: str, text: str, **fields: object) -> None:
    source.contents[path] = Content(text.encode(), **{"stamp": text, **fields})  # type: ignore[arg-type]


def test_a_first_ingest_counts_and_reports(bases: KnowledgeBases, sources: Path) -> None:
    seen: list[Progress] = []
    bases.ensure("产品 manual", None)
    summary = ingest(bases, "产品 manual", [Folder(sources)], None, seen.append)
    assert (summary.added, summary.changed, summary.removed, summary.chunks) == (2, 0, 0, 2)
    version = bases.get("产品 manual")
    assert (version.documents, version.chunks, version.embedder) == (2, 2, None)
    assert version.bytes == sum(p.stat().st_size for p in sources.rglob("*.*"))
    assert seen[-1].done == seen[-1].total == version.bytes
    assert bases.names() == ["产品 manual"]
    assert documents(bases, version.ref) == ["refund.md", "sub/泵.txt"]


def test_what_did_not_change_is_not_read_again(bases: KnowledgeBases) -> None:
    bases.ensure("kb", HashEmbedder())
    embed, source = Counting(), Held(a="apples", b="pears")
    ingest(bases, "kb", [source], embed)
    head = bases.base("kb").head
    source.read_paths.clear()
    embed.seen.clear()
    again = ingest(bases, "kb", [source], embed)
    assert (again.unchanged, source.read_paths, embed.seen) == (2, [], [])
    assert bases.base("kb").head == head
    put(source, "b.txt", "plums")
    put(source, "c.txt", "figs")
    del source.contents["a.txt"]
    third = ingest(bases, "kb", [source], embed)
    assert (third.added, third.changed, third.removed) == (1, 1, 1)
    assert sorted(source.read_paths) == ["b.txt", "c.txt"]
    assert sorted(embed.seen) == ["b\nplums", "c\nfigs"]
    assert documents(bases) == ["b.txt", "c.txt"]
    assert [search(bases, "kb", word) for word in ("apples", "pears")] == [[], []]
    assert search(bases, "kb", "plums")[0].document == "b.txt"


def test_the_same_content_under_a_new_stamp_is_not_embedded_again(bases: KnowledgeBases) -> None:
    bases.ensure("kb", HashEmbedder())
    embed, source = Counting(), Held(a="apples")
    ingest(bases, "kb", [source], embed)
    put(source, "a.txt", "apples", stamp="touched")
    assert ingest(bases, "kb", [source], embed).unchanged == 1
    assert len(embed.seen) == 1
    source.read_paths.clear()
    ingest(bases, "kb", [source], embed)
    assert source.read_paths == []


def test_a_source_that_does_not_forget_keeps_what_it_no_longer_lists(bases: KnowledgeBases) -> None:
    bases.ensure("kb", None)
    source = Held(forgets=False, a="apples", b="pears")
    ingest(bases, "kb", [source], None)
    del source.contents["a.txt"]
    assert ingest(bases, "kb", [source], None).removed == 0
    assert search(bases, "kb", "apples")


def test_what_cannot_be_read_is_told_and_keeps_what_was_there(bases: KnowledgeBases) -> None:
    bases.ensure("kb", None)
    source = Held(a="apples", b="pears")
    ingest(bases, "kb", [source], None)
    put(source, "a.txt", "broken")
    put(source, "b.txt", "\0\0\0", stamp="binary")
    summary = ingest(bases, "kb", [source], None)
    assert {problem.file for problem in summary.problems} == {"a.txt", "b.txt"}
    assert search(bases, "kb", "apples")[0].document == "a.txt"


def test_two_sources_with_one_name_are_told_apart(bases: KnowledgeBases, tmp_path: Path) -> None:
    for place in ("north", "south"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "readme.md").write_text(f"The {place} office.")
    sync(bases, "kb", [tmp_path / "north", tmp_path / "south"])
    assert documents(bases) == ["readme.md", "south/readme.md"]
    (tmp_path / "south" / "readme.md").write_text("The southern office.")
    assert sync(bases, "kb", [tmp_path / "north", tmp_path / "south"]).changed == 1
    assert documents(bases) == ["readme.md", "south/readme.md"]
    sync(bases, "kb", [tmp_path / "north"])
    assert documents(bases) == ["readme.md"]


def test_a_kept_version_does_not_move(bases: KnowledgeBases, sources: Path) -> None:
    first = keep(bases, "kb", [sources])
    assert keep(bases, "kb", [sources]) == first
    (sources / "refund.md").write_text("# Refunds\n\nRefunds take nine days.")
    (sources / "sub" / "泵.txt").unlink()
    second = keep(bases, "kb", [sources])
    assert [version.ref for version in bases.versions("kb")] == [second.ref, first.ref]
    assert "5 days" in bases.text(first.ref, "refund.md")
    assert "nine days" in bases.text(second.ref, "refund.md")
    assert documents(bases, first.ref) == ["refund.md", "sub/泵.txt"]
    assert "5 days" in search(bases, first.ref, "refunds")[0].text
    assert search(bases, first.ref, "水泵")[0].knowledge == first.ref
    assert (search(bases, "kb", "水泵"), search(bases, second.ref, "水泵")) == ([], [])


def test_what_is_withdrawn_is_gone_from_kept_versions_too(
    bases: KnowledgeBases, sources: Path
) -> None:
    first = keep(bases, "kb", [sources])
    (sources / "new.txt").write_text("more")
    sync(bases, "kb", [sources])
    assert bases.withdraw("kb", ["refund.md"]) == 1
    for knowledge in ("kb", first.ref):
        assert search(bases, knowledge, "refunds") == []
        assert "refund.md" not in documents(bases, knowledge)
        with pytest.raises(NotFound):
            bases.text(knowledge, "refund.md")
    sync(bases, "kb", [sources])
    assert search(bases, "kb", "refunds") == []
    with pytest.raises(NotFound, match="document"):
        bases.withdraw("kb", ["refund.md"])


def test_another_embedder_or_cut_indexes_anew_from_what_was_parsed(
    bases: KnowledgeBases, sources: Path
) -> None:
    first = keep(bases, "kb", [sources])
    with pytest.raises(Conflict, match="embedder 'none'"):
        bases.ensure("kb", HashEmbedder())
    (sources / "refund.md").unlink()
    version = keep(bases, "kb", [sources], embed=HashEmbedder(), chunking=Chunking(10, 5))
    assert (version.embedder, version.documents) == ("hash-3", 1)
    assert version.chunks > 1
    assert search(bases, "kb", "水泵温渡", embed=HashEmbedder())
    assert search(bases, first.ref, "refunds")
    assert bases.get(first.ref).chunks == first.chunks


def test_wrong_names_and_sources_are_refused(bases: KnowledgeBases, sources: Path) -> None:
    for name in ("", "a@b", "a/b", "x" * 101):
        with pytest.raises(InvalidInput, match="not a name"):
            bases.ensure(name, None)
    with pytest.raises(InvalidInput, match="no file or folder"):
        sync(bases, "kb", [sources / "nope"])


def test_a_folder_that_is_gone_removes_nothing(bases: KnowledgeBases, sources: Path) -> None:
    sync(bases, "kb", [sources])
    sources.rename(sources.with_name("away"))
    with pytest.raises(InvalidInput):
        sync(bases, "kb", [sources])
    assert search(bases, "kb", "refunds")


def test_a_source_that_is_suddenly_empty_removes_nothing(bases: KnowledgeBases) -> None:
    bases.ensure("kb", None)
    source = Held(a="apples")
    ingest(bases, "kb", [source], None)
    source.contents.clear()
    with pytest.raises(Conflict, match="is empty, where 1 documents"):
        ingest(bases, "kb", [source], None)
    assert search(bases, "kb", "apples")
    ingest(bases, "kb", [], None, only=True)
    assert search(bases, "kb", "apples") == []


def test_unknown_things_suggest_near_ones(bases: KnowledgeBases, sources: Path) -> None:
    with pytest.raises(NotFound, match="knowledge base"):
        bases.get("kb")
    keep(bases, "support", [sources])
    with pytest.raises(NotFound, match="Did you mean support"):
        bases.text("suport", "refund.md")
    with pytest.raises(NotFound, match=r"Did you mean refund\.md"):
        bases.text("support", "refunds.md")
    with pytest.raises(NotFound, match="o'clock"):
        bases.text("support", "o'clock.md")
    for unkept in ("support@77", "support@0", "support@old"):
        with pytest.raises(NotFound, match="support@"):
            bases.get(unkept)
        with pytest.raises(NotFound, match="support@"):
            bases.read(unkept)


def test_delete_takes_a_version_or_all(bases: KnowledgeBases, sources: Path) -> None:
    first = keep(bases, "kb", [sources])
    other = keep(bases, "kb other", [sources])
    (sources / "new.txt").write_text("more")
    second = keep(bases, "kb", [sources])
    bases.delete(first.ref)
    assert [version.ref for version in bases.versions("kb")] == [second.ref]
    with pytest.raises(NotFound):
        search(bases, first.ref, "refunds")
    assert search(bases, second.ref, "refunds")
    bases.delete("kb")
    assert bases.names() == ["kb other"]
    assert search(bases, other.ref, "refunds")
    with pytest.raises(NotFound):
        bases.delete("kb")


def test_what_another_process_writes_or_deletes_is_noticed(
    bases: KnowledgeBases, sources: Path, tmp_path: Path
) -> None:
    keep(bases, "kb", [sources])
    assert search(bases, "kb", "refunds")
    elsewhere = Database(bases.database.url)
    others = open_bases(tmp_path / "store", elsewhere)
    (sources / "refund.md").write_text("Reimbursement takes a week.")
    sync(others, "kb", [sources])
    assert search(bases, "kb", "days") == []
    assert search(bases, "kb", "reimbursement")
    others.delete("kb")
    elsewhere.close()
    with pytest.raises(NotFound):
        search(bases, "kb", "reimbursement")


def test_an_embedder_that_lies_about_its_size_changes_nothing(
    bases: KnowledgeBases, sources: Path
) -> None:
    with pytest.raises(InvalidInput, match="one vector of 7 floats"):
        sync(bases, "kb", [sources], embed=WrongSize())
    assert bases.get("kb").documents == 0


class WrongSize(HashEmbedder):
    size = 7

    async def __call__(self, texts: object) -> list[list[float]]:
        return await HashEmbedder()(["x"])


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.knowledge.bases import open_bases, sync
from tests.knowledge.files import HashEmbedder
from baigong.knowledge import write as module
from baigong.store.database import Database

home, url, sources, moment = sys.argv[1:]
bases = open_bases(Path(home), Database(url))

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "before the chunks":
    type(bases.chunks(bases.ensure("kb", HashEmbedder()))).replace = die
elif moment == "after the chunks":
    module.settle = die
elif moment == "while tending":
    type(bases.chunks(bases.ensure("kb", HashEmbedder()))).tend = die
sync(bases, "kb", [Path(sources)], embed=HashEmbedder())
"""


@pytest.mark.parametrize("moment", ["before the chunks", "after the chunks", "while tending"])
@pytest.mark.parametrize("round_", ["first", "second"])
def test_a_kill_at_any_moment_is_made_good(
    bases: KnowledgeBases, sources: Path, tmp_path: Path, moment: str, round_: str
) -> None:
    if round_ == "second":
        sync(bases, "kb", [sources], embed=HashEmbedder())
        (sources / "refund.md").write_text("Reimbursement takes a week.")
    arguments = [str(tmp_path / "store"), bases.database.url, str(sources), moment]
    command = [sys.executable, "-c", CHILD, *arguments]
    child = subprocess.run(command, cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    if round_ == "second":  # an answer is there at any time, old or new
        assert search(bases, "kb", "refunds") or search(bases, "kb", "reimbursement")
    sync(bases, "kb", [sources], embed=HashEmbedder())
    version = bases.get("kb")
    assert version.documents == version.chunks == 2
    assert bases.chunks(bases.base("kb")).count() == 2
    word = "reimbursement" if round_ == "second" else "refunds"
    assert len(search(bases, "kb", word)) == 1


def test_two_ingests_of_one_source_at_once_are_refused(
    bases: KnowledgeBases, sources: Path
) -> None:
    bases.ensure("kb", None)

    class Meanwhile(Held):
        def list(self) -> Listing:
            with pytest.raises(Conflict, match="held by"):
                ingest(bases, "kb", [Held()], None)
            ingest(bases, "kb", [Folder(sources)], None)  # another source may
            return super().list()

    ingest(bases, "kb", [Meanwhile(a="apples")], None)
    assert documents(bases) == ["a.txt", "refund.md", "sub/泵.txt"]


FULL = """
import resource, sys
from pathlib import Path
from baigong.errors import StorageFull
from baigong.store.database import Database
from tests.knowledge.bases import open_bases, search, sync

home, url, sources = sys.argv[1:]
bases = open_bases(Path(home), Database(url))
search(bases, "kb", "warm")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    sync(bases, "kb", [Path(sources)])
except StorageFull as error:
    print(error.hint)
"""


def test_a_full_disk_is_told_and_loses_nothing(
    bases: KnowledgeBases, sources: Path, tmp_path: Path
) -> None:
    sync(bases, "kb", [sources])
    (sources / "long.txt").write_text("\n".join(os.urandom(500).hex() for _ in range(500)))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "store"), bases.database.url, str(sources)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "Free some space" in done.stdout
    assert search(bases, "kb", "refunds")
    sync(bases, "kb", [sources])
    assert bases.get("kb").documents == 3


def test_bad_files_become_problems(bases: KnowledgeBases, sources: Path) -> None:
    (sources / "broken.pdf").write_bytes(make_pdf([["x"]])[:200])
    (sources / "empty.txt").touch()
    (sources / "model.bin").write_bytes(b"PK")
    summary = sync(bases, "kb", [sources])
    assert {problem.file for problem in summary.problems} == {"broken.pdf", "empty.txt", "*.bin"}
    assert documents(bases) == ["refund.md", "sub/泵.txt"]
