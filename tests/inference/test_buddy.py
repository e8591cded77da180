"""The allocator under the cache: aligned, disjoint, and whole again in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from baigong.inference.engine.buddy import Buddies


def test_extents_of_one_size_lie_side_by_side() -> None:
    buddies = Buddies(1024, 64)
    assert [buddies.allocate(64) for _ in range(4)] == [0, 64, 128, 192]
    buddies.release(64, 64)
    assert buddies.allocate(64) == 64


def test_doubling_in_place_needs_the_right_hand_neighbour() -> None:
    buddies = Buddies(256, 64)
    first, second = buddies.allocate(64), buddies.allocate(64)
    assert (first, second) == (0, 64)
    assert not buddies.double(0, 64)
    assert not buddies.double(64, 64)
    buddies.release(64, 64)
    assert buddies.double(0, 64)
    assert buddies.num_free == 128


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
def test_extents_never_overlap_and_all_room_comes_back(
    size: int, orders: list[tuple[int, int]]
) -> None:
    buddies = Buddies(size * 64, 64)
    taken: list[tuple[int, int]] = []
    for order, pick in orders:
        if order == 3 and taken:
            buddies.release(*taken.pop(pick % len(taken)))
            continue
        length = 64 << order
        start = buddies.allocate(length)
        if start is not None:
            assert start % length == 0
            assert all(start + length <= s or s + n <= start for s, n in taken)
            taken.append((start, length))
        assert buddies.num_free == size * 64 - sum(n for _, n in taken)
    for extent in taken:
        buddies.release(*extent)
    assert buddies.allocate(buddies.largest) is not None
