"""Who comes next, what is kept for those who come later, and what happens when there is no room."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from baigong.errors import Overloaded
from baigong.inference.engine.batch import Sequence
from baigong.inference.engine.cache import Extent
from baigong.inference.engine.messages import RemoveAdapter, Submit
from baigong.inference.engine.prefixes import Kept, Prefixes, marks_of
from baigong.inference.engine.waiting import Waiting
from baigong.types import Sampling
from tests.inference.local import LocalEngine
from tests.models import make_adapter, make_model

LONG = [(7 * i * i + i) % 256 for i in range(200)]


def submit(engine: LocalEngine, id: int, caller: str, max_tokens: int = 30) -> None:
    engine.tell(Submit(id, [id % 256, 1, 2], Sampling(max_tokens=max_tokens), caller=caller))


def test_a_flood_from_one_caller_does_not_hold_up_another(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), max_batch=4)
    for id in range(40):
        submit(engine, id, "flood")
    engine.step(3)
    submit(engine, 100, "guest", max_tokens=10)
    engine.finish(100)
    assert sum(id < 40 for id in engine.reasons) < 8  # it did not wait for the forty
    engine.finish(*range(40))
    assert all(len(engine.tokens[id]) == 30 for id in range(40))  # and none of them lost a token
    alone = LocalEngine(tmp_path / "m")
    for id in (0, 3, 39):
        assert engine.tokens[id] == alone.run(id, [id, 1, 2], max_tokens=30)


def test_callers_take_turns_by_what_they_have_been_given() -> None:
    def sequence(id: int, caller: str) -> Sequence:
        return Sequence(id, [1], 9, Sampling(), frozenset(), None, None, caller)

    waiting = Waiting()
    for id in range(60):
        waiting.add(sequence(id, "abc"[id % 3]))
    turns: Counter[str] = Counter()
    for _ in range(24):
        head = waiting.head()
        assert head is not None
        waiting.remove(head)
        waiting.charge(head, 30 if head.caller == "a" else 10)
        turns[head.caller] += 1
    assert turns["b"] == turns["c"] and abs(turns["b"] - 3 * turns["a"]) <= 3
    waiting.add(sequence(99, "late"))
    order = []
    for _ in range(6):
        head = waiting.head()
        assert head is not None
        waiting.remove(head)
        waiting.charge(head, 30)
        order.append(head.caller)
    assert order.count("late") == 1  # level with the others, not ahead by all that it left unused


def test_too_many_are_told_to_come_again(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), max_batch=2, max_waiting=3)
    for id in range(9):
        submit(engine, id, "a")
    engine.finish(*range(9))
    refused = [id for id, error in engine.errors.items() if isinstance(error, Overloaded)]
    assert len(refused) == 6  # three waited: nothing ran before all had come
    error = engine.errors[refused[0]]
    assert isinstance(error, Overloaded) and error.retry_after >= 1
    assert all(len(engine.tokens[id]) == 30 for id in range(9) if id not in refused)


@pytest.mark.parametrize("native", [True, False])
def test_a_kept_prefix_gives_what_none_gives(tmp_path: Path, native: bool) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    adapter = make_adapter(tmp_path / "a", folder)
    engine = LocalEngine(folder, native=native, prefill_tokens=64, lookup=False)
    engine.add_adapter(1, "a", adapter)
    asked = [LONG, [*LONG[:150], 9, 9, 9], LONG[:64], LONG]
    for number, ids in enumerate(asked):
        for name in (None, "a"):
            fresh = LocalEngine(folder, native=native)
            fresh.add_adapter(1, "a", adapter)
            id = 10 + 2 * number + bool(name)
            before = len(engine.steps)
            assert engine.run(id, ids, adapter=name) == fresh.run(2, ids, adapter=name)
            steps = len(engine.steps) - before
            # 200 prompt tokens are four steps of 64; what is kept is not computed again
            assert steps == (4 if number == 0 else 1) + 15


def test_what_is_kept_makes_room_for_those_who_run(tmp_path: Path) -> None:
    engine = LocalEngine(make_model(tmp_path / "m"), cache_tokens=512)
    for id in range(12):
        ids = [(id * 17 + i * i) % 256 for i in range(100)]
        assert len(engine.run(id, ids, max_tokens=20)) == 20
    assert engine.steps[-1].cached_tokens == 0
    assert engine.cache.num_used > 0


def test_nothing_is_kept_of_an_adapter_that_was_removed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    engine = LocalEngine(folder)
    engine.add_adapter(1, "a", make_adapter(tmp_path / "a", folder, seed=1))
    engine.run(2, LONG, adapter="a")
    engine.tell(RemoveAdapter(3, "a"))
    engine.finish(3)
    assert engine.cache.num_used == 0


def test_prefixes_are_found_by_whole_blocks_and_dropped_by_age() -> None:
    prefixes = Prefixes()
    marks = marks_of(None, LONG[:96])
    assert len(marks) == 3 and marks_of(None, LONG[:127])[:3] == marks
    first = Kept(Extent(0, 128), None, marks[:1])
    longer = Kept(Extent(128, 128), None, marks)
    other = Kept(Extent(256, 64), None, marks_of(None, LONG[1:33]))
    assert prefixes.keep(first) is None
    assert prefixes.keep(other) is None
    assert prefixes.keep(longer) == first.extent  # which it covers
    assert prefixes.keep(Kept(Extent(512, 64), None, marks[:2])) == Extent(512, 64)
    assert prefixes.find(marks_of(None, LONG[:70])) == (longer, 64)
    assert prefixes.find(marks_of(None, [1, *LONG])) is None
    assert prefixes.num_tokens == 192
    assert prefixes.drop_oldest() == other.extent
    assert prefixes.drop_oldest() == longer.extent
    assert prefixes.drop_oldest() is None
