"""An index made anew leaves nothing of the old one behind, wherever it is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from baigong.errors import InvalidInput
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.reindex import prepare
from baigong.store.tables import documents, leases
from tests.knowledge.bases import open_bases, search, sync
from tests.knowledge.files import HashEmbedder

ROOT = Path(__file__).parents[2]
NARROW = Chunking(10, 5)

CHILD = """
import os, signal, sys
from pathlib import Path
from tests.knowledge.bases import open_bases
from tests.knowledge.files import HashEmbedder
from baigong.knowledge import reindex
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.stores.lance import LanceChunks, LanceStores

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

home, moment = sys.argv[1:]
bases = open_bases(Path(home))
if moment == "before the new is whole":
    LanceChunks.tend = die
elif moment == "before the new is taken":
    reindex.settle = die
else:
    LanceStores.drop = die
if moment == "deleting":
    bases.delete("kb")
reindex.prepare(bases, "kb", HashEmbedder(), Chunking(10, 5))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(30):
        text = " ".join(f"Pump {number} wants oil at {hour}:{number}." for hour in range(3))
        (folder / f"{number}.txt").write_text(text)
    return folder


def stored(home: Path) -> set[str]:
    return {path.stem for path in (home / "vectors").glob("*.lance")}


@pytest.mark.parametrize(
    "moment",
    ["before the new is whole", "before the new is taken", "before the old is gone", "deleting"],
)
def test_a_killed_one_leaves_no_chunks_behind(home: Path, sources: Path, moment: str) -> None:
    bases = open_bases(home)
    sync(bases, "kb", [sources])
    done = subprocess.run([sys.executable, "-c", CHILD, str(home), moment], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    bases = open_bases(home)
    sync(bases, "other", [sources])
    names = {"other"} if moment == "deleting" else {"kb", "other"}
    assert set(bases.names()) == names
    assert stored(home) == {bases.base(name).generation for name in names}
    if "kb" in names:
        assert search(bases, "kb", "oil")
        sync(bases, "kb", [sources], embed=HashEmbedder(), chunking=NARROW)
        assert bases.get("kb").documents == 30
        assert bases.chunks(bases.base("kb")).count() == bases.get("kb").chunks > 30
    with bases.database.read() as connection:
        assert (
            connection.execute(
                select(leases.c.resource).where(leases.c.resource.startswith("chunks "))
            ).all()
            == []
        )
        unborn = select(func.count()).where(documents.c.born.is_(None))
        assert connection.execute(unborn).scalar() == 0


def test_one_that_fails_leaves_the_old_index(home: Path, sources: Path) -> None:
    class Broken(HashEmbedder):
        size = 7

        async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
            return await HashEmbedder()(texts)

    bases = open_bases(home)
    sync(bases, "kb", [sources])
    before = bases.base("kb")
    with pytest.raises(InvalidInput, match="7 floats"):
        prepare(bases, "kb", Broken())
    assert bases.base("kb") == before
    assert stored(home) == {before.generation}
    assert len(search(bases, "kb", "oil", 30)) == 30


def test_many_documents_keep_their_own_vectors(home: Path, sources: Path) -> None:
    bases, embed = open_bases(home), HashEmbedder()
    sync(bases, "kb", [sources])
    prepare(bases, "kb", embed)
    chunks = bases.chunks(bases.base("kb"))
    for document in bases.documents("kb"):
        [vector] = asyncio.run(embed([bases.text("kb", document.path)]))
        [best] = chunks.near(np.array(vector, np.float32), 1)
        assert best.path == document.path
        assert best.score == pytest.approx(1)
