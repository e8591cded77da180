"""Killed writers, full disks, and other processes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from baigong.errors import Conflict
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.port import ChunkRow, Chunks, Scope, Stores
from baigong.knowledge.stores.qdrant import QdrantStores

ROOT = Path(__file__).parents[3]
SIZE = 8
DOCUMENTS = 20

BASE = """
import sys
import numpy as np
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.port import ChunkRow
from baigong.knowledge.stores.qdrant import QdrantStores

kind, folder = sys.argv[1:3]
stores = (
    LanceStores(folder, index_from=100) if kind == "lance" else QdrantStores(folder, graph_from=100)
)

def rows(document, turn, count=10):
    return [
        ChunkRow(
            document=document, path="p", title="", text=str(turn), terms=f"word r{turn}",
            start=n, end=n, metadata={f"k{turn % 8}": turn},
            vector=np.ones(8, np.float32) / np.float32(8**0.5),
        )
        for n in range(count)
    ]

def say(what):
    print(what, flush=True)
"""

# Says what is about to change, changes it, and says that it has.
WRITER = (
    BASE
    + """
chunks = stores.open("base", 8)
say("open")
turn = int(sys.argv[3])
while True:
    document = turn % 20
    say(f"begin {document} {turn}")
    chunks.replace([document], rows(document, turn))
    say(f"done {document} {turn}")
    if turn % 4 == 0:
        say("tend")
        chunks.tend()
    if turn % 6 == 0:
        say("pin")
        chunks.pin(f"at{turn}")
        say(f"pinned {turn} {chunks.count()}")
    turn += 1
"""
)


def stores_of(kind: str, folder: Path) -> Stores:
    return LanceStores(folder, index_from=100) if kind == "lance" else QdrantStores(folder)


def closed(stores: Stores) -> None:
    if isinstance(stores, QdrantStores):
        stores.close()


@pytest.mark.parametrize("kind", ["lance", "qdrant"])
def test_killed_at_any_moment_nothing_that_was_done_is_lost(kind: str, tmp_path: Path) -> None:
    stores = stores_of(kind, tmp_path)
    stores.open("base", SIZE).replace([], [row(n) for n in range(DOCUMENTS)])
    closed(stores)
    done = {n: {0} for n in range(DOCUMENTS)}
    pins: dict[str, int] = {}
    turn = 1
    for phase in ("begin", "tend", "pinned", "pin", "tend", "begin"):
        begun = killed_writer(kind, tmp_path, turn, phase, done, pins)
        stores = stores_of(kind, tmp_path)
        chunks = stores.open("base", SIZE)
        for document, turns in done.items():
            found = turns_of(chunks, document)
            if document in begun:  # either the old chunks, or the new ones, or both
                assert found and found <= turns | {begun[document]}, (document, found, turns)
                done[document] = found
            else:
                assert found == turns, document
        for name, count in pins.items():
            assert chunks.pinned(name).count() == count
        turn = 1 + max(max(turns) for turns in done.values())
        closed(stores)
    assert turn > 10 and pins


def killed_writer(
    kind: str,
    folder: Path,
    turn: int,
    phase: str,
    done: dict[int, set[int]],
    pins: dict[str, int],
) -> dict[int, int]:
    """Run a writer, kill it some moments into a phase; what it had begun and not done."""
    command = [sys.executable, "-c", WRITER, kind, str(folder), str(turn)]
    begun: dict[int, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        for line in child.stdout:
            match line.split():
                case ["begin", document, at]:
                    begun = {int(document): int(at)}
                case ["done", document, at]:
                    done[int(document)], begun = {int(at)}, {}
                case ["pinned", at, count]:
                    pins[f"at{at}"] = int(count)
            # Not at the first one: before it there is little to lose.
            if child.returncode is None and line.split()[0] == phase and done_since(done, turn) > 1:
                time.sleep(random.random() / 20)
                child.kill()
    return begun


def done_since(done: dict[int, set[int]], turn: int) -> int:
    return sum(at >= turn for turns in done.values() for at in turns)


def row(document: int) -> ChunkRow:
    return ChunkRow(
        document=document,
        path="p",
        title="",
        text="0",
        terms="word r0",
        start=0,
        end=0,
        vector=np.full(SIZE, SIZE**-0.5, np.float32),
    )


def turns_of(chunks: Chunks, document: int) -> set[int]:
    others = tuple(n for n in range(DOCUMENTS) if n != document)
    return {int(hit.text) for hit in chunks.words(["word"], 1000, Scope(without=others))}


FULL = (
    BASE
    + """
import resource
from baigong.errors import StorageFull

chunks = stores.open("base", 8)
chunks.replace([], rows(1, 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    chunks.replace([1], [row for n in range(500) for row in rows(1, n, 20)])
except StorageFull as error:
    say(error.hint)
    say(chunks.count())
"""
)


def test_a_full_disk_is_storage_full_and_changes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, "lance", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "Free some space" in told and told.endswith("10\n")
    chunks = LanceStores(tmp_path).open("base", SIZE)
    assert {hit.text for hit in chunks.words(["word"], 99)} == {"1"}
    chunks.replace([1], [])
    assert chunks.count() == 0


OTHER = (
    BASE
    + """
chunks = stores.open("base", 8)
for line in sys.stdin:
    turn = int(line)
    chunks.replace([turn % 20], rows(turn % 20, turn))
    if turn % 5 == 0:
        chunks.tend()
    say(turn)
"""
)


def test_what_another_process_wrote_is_found_by_the_next_search(tmp_path: Path) -> None:
    chunks = LanceStores(tmp_path).open("base", SIZE)
    assert chunks.words(["word"], 9) == []
    command = [sys.executable, "-c", OTHER, "lance", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        for turn in range(1, 31):
            child.stdin.write(f"{turn}\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"{turn}\n"
            assert len(chunks.words([f"r{turn}"], 99)) == 10
            assert chunks.count() == 10 * min(turn, 20)
        child.stdin.close()


def test_a_reader_in_another_process_sees_each_replace_as_one_step(tmp_path: Path) -> None:
    """Always one turn of the document, whole: never none, never two."""
    chunks = LanceStores(tmp_path).open("base", SIZE)
    command = [sys.executable, "-c", WRITER.replace("turn % 20", "3"), "lance", str(tmp_path), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        while not child.stdout.readline().startswith("done"):
            pass
        seen = set()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for hits in (chunks.words(["word"], 99), chunks.near(np.ones(SIZE, np.float32), 99)):
                assert len(hits) == 10
                assert len({hit.text for hit in hits}) == 1
                seen.add(hits[0].text)
        child.kill()
    assert len(seen) > 1


def test_a_second_process_is_told_that_qdrant_serves_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, "qdrant", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write("1\n")
        child.stdin.flush()
        assert child.stdout.readline() == "1\n"
        with pytest.raises(Conflict, match="open in another process"):
            QdrantStores(tmp_path).open("base", SIZE)
        child.kill()
    stores = QdrantStores(tmp_path)
    assert stores.open("base", SIZE).count() == 10
    stores.close()
