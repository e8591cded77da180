"""What only Qdrant Edge has: a disk that must not get full."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from baigong.errors import StorageFull
from baigong.knowledge.stores.qdrant import QdrantStores
from tests.knowledge.stores.test_contract import SIZE, places, row


def test_a_nearly_full_disk_is_told_before_the_engine_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = QdrantStores(tmp_path)
    chunks = stores.open("base", SIZE)
    chunks.replace([], [row(1)])
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300 << 20))
        chunks.replace([2], [row(2)])
        with pytest.raises(StorageFull, match="300 MB are free"):
            chunks.replace([1], [row(1, 1, text="x" * (30 << 20))])
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 << 20))
        for refused in (lambda: chunks.replace([1], [row(3)]), chunks.tend):
            with pytest.raises(StorageFull, match="Free some space"):
                refused()
        chunks.replace([2], [])  # to delete takes no room
    assert places(chunks.words(["word"], 9)) == {(1, 0)}
    stores.close()


def test_what_was_half_made_is_cleared_away(tmp_path: Path) -> None:
    for leftover in ("base/.now", "base/pins/.p", "base/.now.1234"):
        (tmp_path / leftover / "segments").mkdir(parents=True)
    stores = QdrantStores(tmp_path)
    chunks = stores.open("base", SIZE)
    assert chunks.count() == 0
    chunks.pin("p")
    assert sorted(each.name for each in tmp_path.glob("base/**/.*")) == []
    stores.close()
