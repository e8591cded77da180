"""Builds that go on in the background of a server: whatever of them nobody runs is run by the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from baigong.errors import BaigongError, Conflict, InvalidInput
from baigong.industry.build import KIND, Workshop, go_on, job_spec
from baigong.industry.recipe import Recipe, recipe_digest
from baigong.jobs import BACKGROUND, Job, Jobs, Watch

_AT_ONCE = 4  # more wait; of these one tunes
_LOOK_S = 1.0

_log = logging.getLogger(__name__)


def can_go_on(job: Job) -> bool:
    """Whether a server can go on with it, should it be paused: a build that holds its recipe."""
    return job.kind == KIND and "declared" in job.spec


def hand_over(jobs: Jobs, job_id: str) -> Job:
    """Have a server go on with a build that was paused or interrupted, whoever began it.

    Raises:
        NotFound: there is no such job.
        InvalidInput: it is no build, or one of old that does not hold its recipe.
        Conflict: it is over.
    """
    job = jobs.get(job_id)
    if not can_go_on(job):
        raise InvalidInput(
            f"The job {job.id} is not resumed by a server.",
            hint="The command or request that began it goes on where it was.",
            param="job",
        )
    return jobs.resume(job.id, background=True)


class Builds:
    """Belongs to one event loop. `watch` is whoever looks on while a job runs here."""

    def __init__(self, workshop: Workshop, watch: Callable[[Job], Watch]) -> None:
        self._workshop = workshop
        self._watch = watch
        self._running: dict[str, asyncio.Task[None]] = {}
        self._new = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def open(self, recipe: Recipe, owner: str | None) -> Job:
        """A job that `start` will see. Blocks; `wake` has it begin at once."""
        digest = recipe_digest(recipe)
        spec = {**job_spec(recipe, digest), BACKGROUND: True}
        return self._workshop.jobs.of(owner).open(KIND, recipe.name, digest, spec)

    def wake(self) -> None:
        """Look for jobs now."""
        self._new.set()

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Leave what is not finished to the next start; a tuning keeps a checkpoint."""
        tasks = [*self._running.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _look(self) -> None:
        while True:
            self._new.clear()
            for job in await asyncio.to_thread(self._workshop.jobs.waiting, KIND):
                if job.id not in self._running and len(self._running) < _AT_ONCE:
                    self._begin(job)
            try:
                # `wait_for` would lose a cancellation that comes with the end of a job.
                async with asyncio.timeout(_LOOK_S):
                    await self._new.wait()
            except TimeoutError:
                continue

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._run(job))
        self._running[job.id] = task
        task.add_done_callback(lambda done: self._ended(job, done))

    async def _run(self, job: Job) -> None:
        try:
            await go_on(self._workshop, job, self._watch(job))
        except Conflict:
            return  # another server was faster
        except InvalidInput as error:
            if error.param == "job":
                await asyncio.to_thread(self._workshop.jobs.fail, job.id, error)
        except BaigongError:
            return  # its row says how it ended

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[job.id]
        self._new.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the build of %s broke", job.name, exc_info=error)
