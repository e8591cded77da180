import asyncio
import sys
import threading
import time

import pytest

from baigong.errors import Conflict, InvalidInput, NotFound
from baigong.jobs import BACKGROUND, Jobs, Step, Stopped
from baigong.store.points import Points
from baigong.types import Progress

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


class Seen:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, step):
        self.events.append(("started", step))

    def progressed(self, step, progress):
        self.events.append(("progressed", step))

    def finished(self, step, output, *, again):
        self.events.append(("skipped" if again else "finished", step))


def step(name, log, fail=None):
    async def work(outputs, report):
        log.append(name)
        report(Progress(1, 2))
        if fail:
            raise fail
        return {"name": name, "after": sorted(outputs)}

    return Step(name, work)


async def test_steps_run_in_order_and_see_the_outputs_before_them(database):
    jobs, log = Jobs(database), []
    job = jobs.open("build", "a", "d1", {})
    outputs = await jobs.run(job, [step("x", log), step("y", log)], Seen())
    assert log == ["x", "y"]
    assert outputs["y"] == {"name": "y", "after": ["x"]}
    assert jobs.get(job.id).state == "done"


async def test_a_failed_job_goes_on_at_the_step_that_failed(database):
    jobs, log = Jobs(database), []
    job = jobs.open("build", "a", "d1", {})
    with pytest.raises(InvalidInput):
        await jobs.run(job, [step("x", log), step("y", log, InvalidInput("no"))], Seen())
    assert jobs.get(job.id).state == "failed"
    again = jobs.open("build", "a", "d1", {})
    assert again.id == job.id
    seen = Seen()
    await jobs.run(again, [step("x", log), step("y", log)], seen)
    assert log == ["x", "y", "y"]
    assert ("skipped", "x") in seen.events
    assert [s.attempts for s in jobs.steps(job.id)] == [1, 2]


async def test_a_finished_digest_begins_a_new_job(database):
    jobs = Jobs(database)
    job = jobs.open("build", "a", "d1", {})
    await jobs.run(job, [step("x", [])], Seen())
    assert jobs.open("build", "a", "d1", {}).id != job.id


async def test_another_digest_is_another_job(database):
    jobs = Jobs(database)
    assert jobs.open("build", "a", "d1", {}).id != jobs.open("build", "a", "d2", {}).id


async def test_an_unknown_job_suggests_near_ids(database):
    job = Jobs(database).open("build", "a", "d1", {})
    with pytest.raises(NotFound, match=job.id):
        Jobs(database).get(job.id[:-1])


KILLED = """
import asyncio, os, signal, sys
from baigong.jobs import Jobs, Step
from baigong.store.database import Database

class Quiet:
    def started(self, step): pass
    def progressed(self, step, progress): pass
    def finished(self, step, output, *, again): pass

async def first(outputs, report):
    return {"n": 1}

async def second(outputs, report):
    os.kill(os.getpid(), signal.SIGKILL)

jobs = Jobs(Database(sys.argv[1]))
job = jobs.open("build", "a", "d1", {})
asyncio.run(jobs.run(job, [Step("x", first), Step("y", second)], Quiet()))
"""


async def test_a_killed_job_goes_on_at_the_interrupted_step(database):
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, database.url)
    assert await killed.wait() == -9
    jobs, log = Jobs(database), []
    [left] = jobs.recent()
    assert left.state == jobs.get(left.id).state == "interrupted"

    async def look(outputs, report):
        log.append(jobs.get(left.id).state)
        return {}

    outputs = await jobs.run(
        jobs.open("build", "a", "d1", {}), [step("x", log), step("y", log), Step("z", look)], Seen()
    )
    assert log == ["y", "running"]
    assert jobs.get(left.id).state == "done"
    assert outputs["x"] == {"n": 1}


def wait_until(is_so, seconds=20.0):
    """Poll until something is so; a test that hangs fails here."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def sleeper(begun):
    async def work(outputs, report):
        begun.set()
        await asyncio.sleep(60)
        return {}

    return Step("sleep", work)


@pytest.mark.parametrize(("wish", "state"), [("pause", "paused"), ("cancel", "cancelled")])
async def test_a_running_job_obeys_a_wish_from_elsewhere(database, wish, state):
    jobs, log, begun = Jobs(database), [], asyncio.Event()
    job = jobs.open("build", "a", "d1", {})
    running = asyncio.create_task(jobs.run(job, [step("x", log), sleeper(begun)], Seen()))
    await begun.wait()
    assert Jobs(database).wish(job.id, wish).wish == wish
    if wish == "cancel":  # for good
        for change in (lambda: jobs.wish(job.id, "pause"), lambda: jobs.resume(job.id)):
            with pytest.raises(Conflict, match="being cancelled"):
                change()
    with pytest.raises(Stopped, match=job.id):
        await running
    assert jobs.get(job.id).state == state
    assert [s.state for s in jobs.steps(job.id)] == ["done", state]
    again = jobs.open("build", "a", "d1", {})
    assert (again.id == job.id) == (wish == "pause")  # what was cancelled is begun anew
    await jobs.run(again, [step("x", log), step("sleep", log)], Seen())
    assert log == (["x", "sleep"] if wish == "pause" else ["x", "x", "sleep"])


async def test_a_step_in_a_thread_ends_at_its_next_word(database):
    jobs = Jobs(database)
    job = jobs.open("build", "a", "d1", {})

    def chatter(report):
        while True:
            report(Progress(1, 2))
            time.sleep(0.01)

    async def work(outputs, report):
        chatter(report)  # never lets anybody else have the loop
        return {}

    thread = threading.Thread(
        target=lambda: (wait_until(lambda: jobs.steps(job.id)), jobs.wish(job.id, "pause"))
    )
    thread.start()
    with pytest.raises(Stopped):
        await jobs.run(job, [Step("chatter", work)], Seen())
    thread.join()
    assert jobs.get(job.id).state == "paused"


async def test_what_is_over_can_be_neither_paused_nor_resumed(database):
    jobs = Jobs(database)
    job = jobs.open("build", "a", "d1", {})
    await jobs.run(job, [step("x", [])], Seen())
    for change in (lambda: jobs.wish(job.id, "pause"), lambda: jobs.resume(job.id)):
        with pytest.raises(Conflict, match="done already"):
            change()


async def test_the_job_of_a_killed_process_is_interrupted_and_can_be_paused_at_once(database):
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, database.url)
    await killed.wait()
    jobs = Jobs(database)
    wait_until(lambda: jobs.recent()[0].state == "interrupted")
    assert jobs.wish(jobs.recent()[0].id, "pause").state == "paused"


async def test_a_job_of_the_background_waits_for_a_server(database):
    jobs, log = Jobs(database), []
    job = jobs.open("build", "a", "d1", {BACKGROUND: True})
    assert [one.id for one in jobs.waiting("build")] == [job.id]
    jobs.wish(job.id, "pause")
    assert jobs.waiting("build") == []
    with pytest.raises(Stopped):  # a server that saw it just before
        await jobs.run(job, [step("x", log)], Seen())
    assert jobs.get(job.id).state == "paused"
    jobs.resume(job.id)
    assert [one.id for one in jobs.waiting("build")] == [job.id]
    await jobs.run(job, [step("x", log)], Seen())
    assert jobs.waiting("build") == []


async def test_two_jobs_take_turns_and_the_second_says_for_what_it_waits(database):
    jobs, order, release = Jobs(database), [], asyncio.Event()

    def user(name):
        async def work(outputs, report):
            async with jobs.turn(made[name], "gpu", report):
                order.append(name)
                if name == "a":
                    await release.wait()
            return {}

        return Step("tune", work)

    def in_line(name):
        is_there = bool(jobs.steps(made[name].id))
        return is_there and (name == "a" or jobs.get(made[name].id).state == "queued")

    made = {name: jobs.open("build", name, "d", {}) for name in "abc"}
    running = []
    for name in "abc":
        running.append(asyncio.create_task(jobs.run(made[name], [user(name)], Seen())))
        await asyncio.to_thread(wait_until, lambda name=name: in_line(name))
    assert order == ["a"]
    assert jobs.steps(made["b"].id)[0].progress["note"] == "waits for build a"
    assert jobs.steps(made["c"].id)[0].progress["note"] == "waits for build a and 1 more"
    release.set()
    await asyncio.gather(*running)
    assert order == ["a", "b", "c"]
    assert {jobs.get(job.id).state for job in made.values()} == {"done"}


async def test_a_killed_job_does_not_seem_to_run_while_another_of_its_name_does(database):
    jobs, states = Jobs(database), []
    left = jobs.open("build", "a", "d1", {})  # as a killed process leaves it
    now = jobs.open("build", "a", "d2", {})

    async def look(outputs, report):
        states.append({job.id: job.state for job in jobs.recent()})
        return {}

    await jobs.run(now, [Step("x", look)], Seen())
    assert states == [{left.id: "interrupted", now.id: "running"}]


async def test_a_user_sees_and_opens_only_jobs_of_their_own(database):
    jobs = Jobs(database)
    alices, bobs = jobs.of("alice"), jobs.of("bob")
    spec = {BACKGROUND: True}
    hers = alices.open("ingest", "handbook", "d", spec)
    assert bobs.open("ingest", "handbook", "d", spec).id != hers.id
    assert alices.open("ingest", "handbook", "d", spec).id == hers.id
    ours = jobs.open("build", "desk", "d", spec)
    assert [job.id for job in alices.recent()] == [hers.id] and alices.count() == 1
    assert {job.owner for job in jobs.recent()} == {"alice", "bob", None}
    for ask in (bobs.get, lambda id: bobs.wish(id, "cancel"), bobs.resume):
        for other in (hers.id, ours.id):
            with pytest.raises(NotFound) as refused:
                ask(other)
            assert other not in refused.value.hint


async def test_points_are_there_while_a_step_runs_and_a_repeated_one_replaces_what_came_after(
    database,
):
    jobs = Jobs(database)
    job = jobs.open("build", "a", "d1", {})

    def told(numbers, loss, **metrics):
        return [Progress(n, 9, metrics={"step": n, "loss": loss, **metrics}) for n in numbers]

    def learning(points, error=None):
        async def work(outputs, report):
            for point in [*points, Progress(1, 2)]:
                report(point)
            if error:
                raise error
            return {}

        return [Step("tune", work)]

    with pytest.raises(InvalidInput):
        await jobs.run(job, learning(told(range(1, 6), 2.0), InvalidInput("no")), Seen())
    await jobs.run(job, learning(told((4,), 1.0)), Seen())
    points = [
        (p.metrics["step"], p.metrics["loss"]) for _, p in Points(database, job.id).last_trial()
    ]
    assert points == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 1.0)]
    again = jobs.open("build", "a", "d2", {})
    await jobs.run(again, learning(told((1, 2), 3.0, trial=1) + told((1,), 1.0, trial=2)), Seen())
    assert len(Points(database, again.id).last_trial()) == 1
