"""What only LanceDB has: versions to clean up, and other holders of the same folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from baigong.knowledge.stores import indexes, lance
from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.port import Scope
from baigong.knowledge.where import Compare
from tests.knowledge.stores.test_contract import SIZE, places, row, vector


def test_cleaning_up_lets_go_of_old_files_and_spares_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "KEPT", timedelta(milliseconds=1))
    monkeypatch.setattr(lance, "KEPT", timedelta(milliseconds=1))
    monkeypatch.setattr(indexes, "_FRAGMENTS", 0)
    chunks = LanceStores(tmp_path, index_from=10).open("base", SIZE)
    chunks.replace([], [row(n, 0, "old") for n in range(50)])
    chunks.tend()
    chunks.pin("p")
    for turn in range(10):
        chunks.replace(range(50), [row(n, turn, "new") for n in range(50)])
    assert len(list(tmp_path.glob("base.lance/data/*"))) >= 11
    assert chunks.tend()
    assert len(list(tmp_path.glob("base.lance/data/*"))) <= 3
    pinned = chunks.pinned("p")
    assert places(pinned.words(["old"], 99)) == {(n, 0) for n in range(50)}
    assert len(pinned.near(vector(1), 99)) == 50
    assert len(chunks.words(["new"], 99)) == len(chunks.near(vector(1), 99)) == 50
    chunks.unpin("p")
    chunks.replace([1], [])
    chunks.tend()
    assert len(chunks.words(["new"], 99)) == 49


def test_tending_is_done_once(tmp_path: Path) -> None:
    chunks = LanceStores(tmp_path, index_from=10).open("base", SIZE)
    assert not chunks.tend()
    for n in range(40):
        chunks.replace([n], [row(n)])
    assert chunks.tend()
    assert not chunks.tend()


def test_many_indexes_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_LOOSE_ROWS", 0)
    monkeypatch.setattr(indexes, "_SEGMENTS", 2)
    chunks = LanceStores(tmp_path, index_from=10).open("base", SIZE)
    for turn in range(4):
        chunks.replace([], [row(50 * turn + n) for n in range(50)])
        assert chunks.tend()
        assert places(chunks.near(vector(50 * turn + 7), 999)) >= {(50 * turn + 7, 0)}
        assert len(chunks.near(vector(1), 999)) == 50 * (turn + 1)
    [index] = [
        each for each in lance._run(chunks._table.list_indices()) if each.columns == ["vector"]
    ]
    assert index.num_segments <= 2


def test_who_has_it_open_sees_what_others_add_drop_and_make_anew(tmp_path: Path) -> None:
    ours, theirs = LanceStores(tmp_path), LanceStores(tmp_path)
    chunks, others = ours.open("base", SIZE), theirs.open("base", SIZE)
    scope = Scope(where=Compare("eq", "year", 2026.0))
    assert chunks.words(["word"], 9, scope) == []
    others.replace([], [row(1, metadata={"year": 2026})])
    assert places(chunks.words(["word"], 9, scope)) == {(1, 0)}
    chunks.replace([], [row(2, metadata={"year": 2026, "kind": "x"})])
    assert len(others.near(vector(1), 9, scope)) == 2
    theirs.drop("base")
    theirs.open("base", SIZE).replace([], [row(3, metadata={"year": 2026})])
    assert places(chunks.words(["word"], 9, scope)) == {(3, 0)}
