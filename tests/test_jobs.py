import asyncio
import sys

import pytest

from baigong.errors import InvalidInput, NotFound
from baigong.jobs import Jobs, Step
from baigong.types import Progress

pytestmark = pytest.mark.anyio


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
from pathlib import Path
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

jobs = Jobs(Database.in_folder(Path(sys.argv[1])))
job = jobs.open("build", "a", "d1", {})
asyncio.run(jobs.run(job, [Step("x", first), Step("y", second)], Quiet()))
"""


async def test_a_killed_job_goes_on_at_the_interrupted_step(tmp_path, database):
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path / "db")
    )
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


async def test_a_killed_job_does_not_seem_to_run_while_another_of_its_name_does(database):
    jobs, states = Jobs(database), []
    left = jobs.open("build", "a", "d1", {})  # as a killed process leaves it
    now = jobs.open("build", "a", "d2", {})

    async def look(outputs, report):
        states.append({job.id: job.state for job in jobs.recent()})
        return {}

    await jobs.run(now, [Step("x", look)], Seen())
    assert states == [{left.id: "interrupted", now.id: "running"}]
