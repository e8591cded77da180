"""Vectors and words in memory: for one version alone, followed by this process's writes, within a budget."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baigong.knowledge.stores import indexes
from baigong.knowledge.stores.lance import LanceChunks, LanceStores
from baigong.knowledge.stores.mirror import Mirrors
from baigong.knowledge.stores.port import EVERYTHING, Scope
from baigong.knowledge.where import Compare
from tests.knowledge.stores.test_contract import SIZE, row, vector

ASKED = vector(5)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[LanceChunks]:
    """Whose rows were read into memory, one entry for each time."""
    found: list[LanceChunks] = []
    whole = LanceChunks._whole

    def counted(self: LanceChunks, budget: int) -> Any:
        found.append(self)
        return whole(self, budget)

    monkeypatch.setattr(LanceChunks, "_whole", counted)
    return found


def opened(folder: Path, mirrors: Mirrors | None = None) -> LanceChunks:
    return LanceStores(folder, mirrors=mirrors or Mirrors(beside=False)).open("base", SIZE)


def numbers(hits: Iterable[Any]) -> set[int]:
    return {hit.document for hit in hits}


def test_it_follows_what_this_process_writes(tmp_path: Path, reads: list[LanceChunks]) -> None:
    chunks = opened(tmp_path)
    chunks.replace([], [row(n, metadata={"part": n % 2}) for n in range(40)])
    chunks.near(ASKED, 5)
    odd = Scope(where=Compare("eq", "part", 1.0))
    held = set(range(40))
    for turn in range(30):
        new = row(100 + turn, terms=f"word turn{turn}", metadata={"part": turn % 2})
        chunks.replace([turn, turn + 1], [new])
        held = (held - {turn, turn + 1}) | {100 + turn}
        assert numbers(chunks.near(ASKED, 999)) == held
        assert numbers(chunks.words(["word"], 999)) == held
        assert numbers(chunks.words([f"turn{turn}", "absent"], 999)) == {100 + turn}
        for found in (chunks.near(ASKED, 999, odd), chunks.words(["word"], 999, odd)):
            assert numbers(found) == {n for n in held if n % 2}
    chunks.replace(list(held), [])
    assert chunks.near(ASKED, 9) == [] == chunks.words(["word"], 9)
    assert len(reads) == 1


def test_what_is_kept_for_a_scope_follows_writes_and_time(
    tmp_path: Path, reads: list[LanceChunks]
) -> None:
    chunks = opened(tmp_path)
    chunks.replace([], [row(n, metadata={"part": n % 10}, expires_at=n) for n in range(100)])
    third = Compare("eq", "part", 3.0)
    held = {n for n in range(100) if n % 10 == 3}
    for turn in range(0, 60, 7):
        for scope in (Scope(where=third), Scope(where=third, now=turn)):
            left = {n for n in held if scope.now is None or n > scope.now}
            for _ in range(3):
                assert numbers(chunks.near(ASKED, 99, scope)) == left
                assert numbers(chunks.words(["word"], 99, scope)) == left
        chunks.replace([turn, 93 - turn], [row(200 + turn, metadata={"part": 3}, expires_at=99)])
        held = (held - {turn, 93 - turn}) | {200 + turn}
    assert len(reads) == 1


def test_more_scopes_than_are_kept_are_told_apart(tmp_path: Path, reads: list[LanceChunks]) -> None:
    """True is not 1, nor is a text a number; the few vectors that are kept make room for others."""
    chunks = opened(tmp_path)
    said: list[Any] = [*map(float, range(60)), True, False, "1.0", "True"]
    chunks.replace([], [row(n, metadata={"key": said[n % len(said)]}) for n in range(256)])
    for _ in range(3):
        for n, value in enumerate(said):
            scope = Scope(where=Compare("eq", "key", value))
            expected = set(range(n, 256, len(said)))
            assert numbers(chunks.near(ASKED, 99, scope)) == expected, value
            assert numbers(chunks.near(ASKED, 99, scope)) == expected, value
    assert len(reads) == 1


WORDS = (
    "pump pumps pumping heated 水 泵 水泵 ab-1234 Égypte egypt œuvre straße strasse generously IT "
    "Ångström angstrom élève naïve Łódź lodz Ø ĳ ﬁne café"
).split()


def test_words_score_as_in_the_stores_index(
    tmp_path: Path, reads: list[LanceChunks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even words that are written with other letters, a row without any and one with many."""
    draw = random.Random(1)
    rows = [
        row(n, terms=" ".join(draw.choices(WORDS, k=draw.randint(0, 40))), metadata={"part": n % 2})
        for n in range(300)
    ]
    rows.append(row(300, terms=" pump" * 300))
    monkeypatch.setattr(indexes, "_LOOSE_ROWS", 10)
    index = LanceStores(tmp_path, index_from=10, mirrors=Mirrors(0)).open("base", SIZE)
    index.replace([], rows)
    assert index.tend()
    memory = opened(tmp_path)
    questions = [[word] for word in WORDS] + [draw.sample(WORDS, 5) for _ in range(30)]
    for words in questions:
        for scope in (EVERYTHING, Scope(where=Compare("eq", "part", 1.0))):
            expected, found = (each.words(words, 999, scope) for each in (index, memory))
            assert numbers(found) == numbers(expected), words
            scores = {hit.document: hit.score for hit in expected}
            for hit in found:
                assert hit.score == pytest.approx(scores[hit.document], rel=1e-4), words
        assert len(memory.words(words, 7)) == min(7, len(memory.words(words, 999)))
    assert memory in reads


def test_words_alone_are_in_memory_too(tmp_path: Path, reads: list[LanceChunks]) -> None:
    chunks = LanceStores(tmp_path, mirrors=Mirrors(beside=False)).open("base", None)
    chunks.replace([], [row(n, terms=f"term{n % 3}", vector=None) for n in range(9)])
    assert numbers(chunks.words(["term1"], 9)) == {1, 4, 7}
    assert reads == [chunks]


def test_what_another_process_deletes_is_gone_at_once(
    tmp_path: Path, reads: list[LanceChunks]
) -> None:
    ours, theirs = opened(tmp_path, Mirrors()), opened(tmp_path)
    ours.replace([], [row(n) for n in range(40)])
    read_beside(ours, reads)
    theirs.replace([3, 4], [row(50)])
    for _ in range(9):
        assert numbers(ours.near(ASKED, 99)) == {*range(40), 50} - {3, 4}


def test_what_others_write_after_a_long_rest_is_seen_at_once(
    tmp_path: Path, reads: list[LanceChunks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is not asked for while the folder stays as it was, and is as soon as it changes."""
    asked = []
    newest = LanceChunks._newest
    monkeypatch.setattr(LanceChunks, "_newest", lambda self: asked.append(self) or newest(self))
    ours, theirs = opened(tmp_path), opened(tmp_path)
    theirs.replace([], [row(n) for n in range(9)])
    for turn in range(4):
        os.utime(tmp_path / "base.lance" / "_versions", (turn, turn))
        held = set(range(turn, 9))
        asked.clear()
        for _ in range(5):
            assert numbers(ours.near(ASKED, 99)) == numbers(ours.words(["word"], 99)) == held
        assert asked == [ours]
        theirs.replace([turn], [])


def read_beside(chunks: LanceChunks, reads: list[LanceChunks]) -> None:
    """Ask until what was asked for is in memory."""
    while not reads:
        chunks.near(ASKED, 5)
    for thread in threading.enumerate():
        if thread.name == "mirror":
            thread.join()


def test_what_is_written_while_it_is_read_is_there_after(
    tmp_path: Path, reads: list[LanceChunks], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LanceChunks._whole

    def slow(self: LanceChunks, budget: int) -> Any:
        found = whole(self, budget)
        self.replace([2], [row(20)])
        self.replace([3], [])
        return found

    monkeypatch.setattr(LanceChunks, "_whole", slow)
    chunks = opened(tmp_path)
    chunks.replace([], [row(n) for n in range(9)])
    chunks.near(ASKED, 9)
    assert numbers(chunks.near(ASKED, 99)) == {0, 1, 4, 5, 6, 7, 8, 20}
    assert len(reads) == 1


def test_who_was_asked_last_stays_within_the_budget(
    tmp_path: Path, reads: list[LanceChunks]
) -> None:
    stores = LanceStores(tmp_path, mirrors=Mirrors(120_000, beside=False))
    first, second, third = (stores.open(name, SIZE) for name in ("first", "second", "third"))
    for chunks, rows in ((first, 50), (second, 50), (third, 500)):
        chunks.replace([], [row(n, text="t" * 1200) for n in range(rows)])
    for chunks in (first, first, second, second):  # one of them has room
        assert len(chunks.near(ASKED, 999)) == 50
    assert reads == [first, second]
    first.near(ASKED, 9)
    assert reads == [first, second, first]
    assert len(third.near(ASKED, 999)) == 500  # never has
    second.near(ASKED, 9)
    stores.drop("second")
    assert stores.open("second", SIZE).near(ASKED, 9) == []


def test_what_grows_beyond_the_budget_goes(tmp_path: Path, reads: list[LanceChunks]) -> None:
    chunks = opened(tmp_path, Mirrors(200_000, beside=False))
    for first in range(0, 300, 50):
        chunks.replace([], [row(first + n, text="t" * 1200) for n in range(50)])
        assert len(chunks.near(ASKED, 999)) == first + 50
    assert len(reads) > 1  # nothing of it is in memory


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cosines_are_those_of_a_plain_product(
    tmp_path: Path, share: float, reads: list[LanceChunks]
) -> None:
    """More vectors than are gathered at once, and a question that is not of length 1."""
    chunks = opened(tmp_path)
    count = 3000
    rows = [row(n, metadata={"part": float(n) / count}) for n in range(count)]
    chunks.replace([], rows)
    scope = Scope(where=Compare("lt", "part", share))
    hits = chunks.near(3 * ASKED, 20, scope)
    passing = rows[: round(share * count)]
    cosines = np.array([each.vector @ ASKED for each in passing if each.vector is not None])
    best = np.argsort(-cosines)[:20]
    assert [hit.document for hit in hits] == best.tolist()
    np.testing.assert_allclose([hit.score for hit in hits], cosines[best], atol=1e-5)
    assert reads == [chunks]
