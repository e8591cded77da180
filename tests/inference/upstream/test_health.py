"""When an upstream is asked, and when it is left alone."""

from __future__ import annotations

from baigong.inference.upstream.health import LONGEST_REST_S, Health


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rests_grow_with_failures_in_a_row_and_end_with_an_answer() -> None:
    clock = Clock()
    health = Health(clock)
    assert health.is_well
    rests = []
    for _ in range(8):
        health.failed("broken")
        rests.append(health.rests_s)
        assert not health.is_well
        clock.now += rests[-1]
        assert health.is_well  # it is asked again
    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_REST_S, LONGEST_REST_S]
    health.answered()
    assert (health.is_well, health.reason) == (True, "")
    health.failed("broken")
    assert health.rests_s == 1


def test_a_probe_that_fails_makes_it_sick_until_one_goes_well() -> None:
    clock = Clock()
    health = Health(clock)
    assert not health.probed("cannot be reached")
    clock.now += 10 * LONGEST_REST_S
    assert (health.is_well, health.reason) == (False, "cannot be reached")
    assert health.probed()  # it has come back
    assert (health.is_well, health.reason) == (True, "")
    assert not health.probed()  # and was well already


def test_a_probe_does_not_excuse_failed_answers() -> None:
    health = Health(Clock())
    health.failed("failed with status 500")
    assert not health.probed()
    assert (health.is_well, health.reason) == (False, "failed with status 500")


def test_an_answer_outweighs_a_failed_probe() -> None:
    health = Health(Clock())
    health.probed("health answers 503")
    health.answered()
    assert health.is_well
