"""Durable jobs: a list of named steps, each done once, resumed at the step that was interrupted.

A step's output is a small JSON object. A step that was killed runs again from its start, so each
makes its own work repeatable (a folder keyed by the job's id, writes that end in a rename).

Any process may wish that a job pauses or ends: whoever runs it sees that in the table within about
a second, and cancels the step. A job of the background is run by a server, whichever sees it first.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, null, select, true, update

from baigong.errors import BaigongError, Conflict, NotFound, Refused
from baigong.store.database import Database
from baigong.store.leases import held_among, lease, place
from baigong.store.owning import owned
from baigong.store.points import Points
from baigong.store.room import room_for
from baigong.store.tables import jobs, steps
from baigong.store.turns import take_turns
from baigong.types import Progress, Report

Output = dict[str, Any]
Wish = Literal["pause", "cancel"]

BACKGROUND = "background"  # key of a spec: a server runs it, and goes on with it by itself
WISHED: dict[Wish, str] = {"pause": "paused", "cancel": "cancelled"}

_ACTIVE = ("running", "queued", "interrupted")
_OVER = ("done", "refused", "failed", "cancelled")
_LOOK_S = 0.5
_TURN_S = 0.3
_FRESH_S = 2.0  # between a job's opening and its running


class Stopped(BaigongError):
    """A job was paused or cancelled, because somebody wished it."""

    status = 409
    code = "job_stopped"


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the jobs table.

    Attributes:
        state: running, queued (waits for its turn, or for a server), paused, interrupted (its process
            is gone), done, refused, failed or cancelled.
        error_code: the code of the `BaigongError` that `error` tells of.
        wish: what it is about to obey.
        owner: whose it is; None is an operator's.
    """

    id: str
    kind: str
    name: str
    state: str
    spec: Output
    created_at: float
    updated_at: float
    error: str | None = None
    error_code: str | None = None
    wish: Wish | None = None
    owner: str | None = None

    @property
    def is_over(self) -> bool:
        return self.state in _OVER


@dataclass(frozen=True, slots=True)
class StepRow:
    """A row of the steps table; times in seconds since the epoch."""

    name: str
    state: str
    attempts: int
    started_at: float
    finished_at: float | None
    progress: Output | None
    output: Output | None


class Watch(Protocol):
    """Someone who looks on while a job runs, e.g. the terminal."""

    def started(self, step: str) -> None: ...
    def progressed(self, step: str, progress: Progress) -> None: ...
    def finished(self, step: str, output: Output, *, again: bool) -> None: ...


Work = Callable[[Mapping[str, Output], Report], Awaitable[Output]]


@dataclass(frozen=True, slots=True)
class Step:
    """A name, and work that turns the outputs of the steps before it into its own."""

    name: str
    work: Work


class Jobs:
    """The jobs of one database, or those of one owner."""

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self._database = database
        self._owner = owner
        self._mine = owned(jobs.c.owner, owner)

    def of(self, owner: str | None) -> Jobs:
        """Those that an owner sees and opens; None sees all."""
        return Jobs(self._database, owner)

    # --- what there is

    def open(self, kind: str, name: str, digest: str, spec: Output) -> Job:
        """The owner's unfinished job with this digest, or a new one."""
        with self._database.begin() as connection:
            take_turns(connection, f"{kind} {name}")
            rows = connection.execute(
                select(jobs)
                .where(jobs.c.kind == kind, jobs.c.name == name, jobs.c.digest == digest)
                .where(jobs.c.owner.is_not_distinct_from(self._owner))
                .where(jobs.c.state.in_([*_ACTIVE, "paused", "failed"]))
                .order_by(jobs.c.created_at.desc())
            ).all()
            for found in _seen(connection, rows):
                if found.state != "cancelled":
                    return found
            now = time.time()
            state = "queued" if spec.get(BACKGROUND) else "running"
            job = Job(secrets.token_hex(8), kind, name, state, spec, now, now, owner=self._owner)
            connection.execute(
                insert(jobs).values(
                    id=job.id,
                    kind=kind,
                    name=name,
                    digest=digest,
                    state=job.state,
                    spec=spec,
                    owner=job.owner,
                    created_at=now,
                    updated_at=now,
                )
            )
            return job

    def recent(self, limit: int = 50, offset: int = 0) -> list[Job]:
        """Newest first."""
        query = select(jobs).where(self._mine).order_by(jobs.c.created_at.desc(), jobs.c.id)
        return self._all(query.limit(limit).offset(offset))

    def count(self) -> int:
        with self._database.read() as connection:
            query = select(func.count()).select_from(jobs).where(self._mine)
            return connection.scalar(query) or 0

    def waiting(self, kind: str) -> list[Job]:
        """Jobs of the background that nobody runs, oldest first."""
        query = select(jobs).where(jobs.c.kind == kind, jobs.c.state.in_(_ACTIVE))
        found = self._all(query.order_by(jobs.c.created_at))
        with self._database.read() as connection:
            held = held_among(connection, {_resource(job) for job in found})
        return [j for j in found if j.state == "queued" and _resource(j) not in held]

    def specs(self, kind: str, name: str) -> list[Output]:
        """What was given to each job of that kind and name."""
        with self._database.read() as connection:
            query = select(jobs.c.spec).where(jobs.c.kind == kind, jobs.c.name == name)
            return list(connection.execute(query).scalars())

    def get(self, job_id: str) -> Job:
        """
        Raises:
            NotFound: there is no such job, or it is another's.
        """
        with self._database.read() as connection:
            return self._get(connection, job_id)

    def steps(self, job_id: str) -> list[StepRow]:
        """The steps that have begun, in order."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(steps).where(steps.c.job == job_id).order_by(steps.c.started_at)
            )
            return [StepRow(*(getattr(row, f) for f in StepRow.__slots__)) for row in rows]

    def last_steps(self, job_ids: Collection[str], name: str | None = None) -> dict[str, StepRow]:
        """Of each job the step that began last, or that of a name, without its output."""
        fields = [steps.c[name] for name in StepRow.__slots__ if name != "output"]
        named = true() if name is None else steps.c.name == name
        query = select(steps.c.job, *fields, null()).where(steps.c.job.in_(job_ids), named)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(steps.c.started_at)).all()
        return {job: StepRow(*values) for job, *values in rows}

    # --- what others wish

    def wish(self, job_id: str, wish: Wish) -> Job:
        """Have a job pause, or end for good. Whoever runs it obeys within about a second; where
        nobody does, it is so at once.

        Raises:
            NotFound: as `get`.
            Conflict: it is over.
        """
        with self._database.begin() as connection:
            take_turns(connection, f"job {job_id}")
            job = self._get(connection, job_id)
            if job.state == WISHED[wish]:
                return job
            _refuse_over(job)
            if held_among(connection, {_resource(job)}) and job.state in {"running", "queued"}:
                _change(connection, job.id, wish=wish)
            else:
                _change(connection, job.id, state=WISHED[wish], wish=None)
            return self._get(connection, job_id)

    def resume(self, job_id: str, *, background: bool = False) -> Job:
        """Let a job go on that was paused or interrupted: one of the background by a server, any
        other by whoever calls `run`. With `background` it becomes one of those.

        Raises:
            NotFound: as `get`.
            Conflict: it is over.
        """
        with self._database.begin() as connection:
            take_turns(connection, f"job {job_id}")
            job = self._get(connection, job_id)
            is_background = background or bool(job.spec.get(BACKGROUND))
            if job.state != "failed" or job.spec.get(BACKGROUND):
                _refuse_over(job)
            values: Output = {"wish": None}
            if is_background and job.state not in {"running", "queued"}:
                values |= {"state": "queued", "spec": {**job.spec, BACKGROUND: True}}
            _change(connection, job.id, **values)
            return self._get(connection, job_id)

    def fail(self, job_id: str, error: BaigongError) -> None:
        """Say that a job cannot even begin."""
        self._state(job_id, "failed", str(error), error.code)

    # --- running

    async def run(self, job: Job, work: Sequence[Step], watch: Watch) -> dict[str, Output]:
        """Do what is left of the job; the outputs of all its steps by name.

        Raises:
            Conflict: another process works on the same kind and name.
            Stopped: it was paused or cancelled.
        """
        with lease(self._database, _resource(job)):
            self._begin(job)
            try:
                outputs = await self._obey(job, work, watch)
            except Stopped:
                self._stop(job.id)
                raise
            except BaigongError as error:
                state = "refused" if isinstance(error, Refused) else "failed"
                self._state(job.id, state, str(error), error.code)
                raise
            except Exception as error:
                self._state(job.id, "failed", f"{type(error).__name__}: {error}")
                raise
            self._state(job.id, "done")
            return outputs

    @asynccontextmanager
    async def turn(self, job: Job, queue: str, report: Report) -> AsyncIterator[None]:
        """Wait in line for what only one may use at a time, and have it for the length of the block.

        The job is `queued` until then, and its progress says for what it waits.
        """
        with place(self._database, queue, f"{job.kind} {job.name}") as before:
            waits = await asyncio.to_thread(before)
            if waits:
                self._state(job.id, "queued")
            while waits:
                report(Progress(0, 1, "turns", note=_waiting(job, waits)))
                await asyncio.sleep(_TURN_S)
                waits = await asyncio.to_thread(before)
            self._state(job.id, "running")
            yield

    async def _obey(self, job: Job, work: Sequence[Step], watch: Watch) -> dict[str, Output]:
        """Do the steps, and cancel the one that runs when somebody wishes it."""
        working = asyncio.ensure_future(self._run(job, work, watch))
        looking = asyncio.ensure_future(self._look(job.id))
        try:
            await asyncio.wait({working, looking}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
                working.cancel()
                await asyncio.wait({working})
                if working.cancelled():
                    raise _stopped(job)
            return working.result()
        finally:
            looking.cancel()
            working.cancel()
            await asyncio.wait({working, looking})

    async def _look(self, job_id: str) -> None:
        """Return once there is a wish."""
        while not await asyncio.to_thread(self._wished, job_id):  # noqa: ASYNC110  others write it
            await asyncio.sleep(_LOOK_S)

    def _wished(self, job_id: str) -> bool:
        with self._database.read() as connection:
            return connection.scalar(select(jobs.c.wish).where(jobs.c.id == job_id)) is not None

    async def _run(self, job: Job, work: Sequence[Step], watch: Watch) -> dict[str, Output]:
        outputs = {row.name: row.output or {} for row in self.steps(job.id) if row.state == "done"}
        for step in work:
            again = step.name in outputs
            watch.started(step.name)
            if not again:
                outputs[step.name] = await self._step(job, step, outputs, watch)
            watch.finished(step.name, outputs[step.name], again=again)
        return outputs

    async def _step(
        self, job: Job, step: Step, outputs: Mapping[str, Output], watch: Watch
    ) -> Output:
        with self._database.begin() as connection:
            _begin_step(connection, job.id, step.name)
        points, last = Points(self._database, job.id), 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            watch.progressed(step.name, progress)
            points.hear(progress)
            if time.monotonic() - last > 1.0:  # other processes look on through the table
                last = time.monotonic()
                points.keep()
                self._step_values(job.id, step.name, progress=msgspec.to_builtins(progress))
                if self._wished(job.id):  # a step that never awaits, or is in a thread, stops here
                    raise _stopped(job)

        try:
            with room_for(f"what {step.name} makes"):
                output = await step.work(outputs, report)
        finally:
            points.keep()
        self._step_values(job.id, step.name, state="done", output=output, finished_at=time.time())
        return output

    # --- rows

    def _get(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id, self._mine)).first()
        if row is None:
            known = connection.scalars(select(jobs.c.id).where(self._mine))
            raise NotFound.among("job", job_id, list(known))
        return _seen(connection, [row])[0]

    def _all(self, query: Any) -> list[Job]:
        with self._database.read() as connection:
            return _seen(connection, connection.execute(query).all())

    def _begin(self, job: Job) -> None:
        """
        Raises:
            Stopped: it is one of the background, and was paused or cancelled before it began.
        """
        with self._database.begin() as connection:
            take_turns(connection, f"job {job.id}")
            row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()
            if job.spec.get(BACKGROUND) and row.state not in _ACTIVE:
                raise _stopped(job)
            # Whoever held the lease before is gone, whatever its row says.
            others = (jobs.c.kind == job.kind) & (jobs.c.name == job.name) & (jobs.c.id != job.id)
            connection.execute(
                update(jobs).where(others, jobs.c.state.in_(_ACTIVE)).values(state="interrupted")
            )
            _change(connection, job.id, state="running", error=None, error_code=None, wish=None)

    def _stop(self, job_id: str) -> None:
        """The wish is fulfilled; where it was taken back meanwhile, a server goes on."""
        with self._database.begin() as connection:
            take_turns(connection, f"job {job_id}")
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
            taken_back = "queued" if row.spec.get(BACKGROUND) else "paused"
            state = WISHED[row.wish] if row.wish else taken_back
            _change(connection, job_id, state=state, wish=None)
            running = (steps.c.job == job_id) & (steps.c.state == "running")
            connection.execute(update(steps).where(running).values(state=state))

    def _step_values(self, job_id: str, name: str, **values: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(steps).where(steps.c.job == job_id, steps.c.name == name).values(**values)
            )

    def _state(
        self, job_id: str, state: str, error: str | None = None, code: str | None = None
    ) -> None:
        with self._database.begin() as connection:
            _change(connection, job_id, state=state, error=error, error_code=code)


def _change(connection: Connection, job_id: str, **values: Any) -> None:
    values["updated_at"] = time.time()
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _begin_step(connection: Connection, job_id: str, name: str) -> None:
    one = (steps.c.job == job_id) & (steps.c.name == name)
    attempts = connection.scalar(select(steps.c.attempts).where(one)) or 0
    connection.execute(delete(steps).where(one))
    connection.execute(
        insert(steps).values(
            job=job_id,
            name=name,
            state="running",
            attempts=attempts + 1,
            started_at=time.time(),
        )
    )


def _seen(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    """Jobs as they stand: of a process that was killed the row still says that it runs."""
    held = held_among(connection, {_resource(row) for row in rows if row.state in _ACTIVE})
    return [_job(row, is_held=_resource(row) in held) for row in rows]


def _job(row: Row[Any], *, is_held: bool) -> Job:
    state = row.state
    is_fresh = row.updated_at == row.created_at and time.time() - row.updated_at < _FRESH_S
    if state in _ACTIVE and not is_held and not is_fresh:
        gone = "queued" if row.spec.get(BACKGROUND) else "interrupted"
        state = WISHED[row.wish] if row.wish else gone
    return Job(
        row.id,
        row.kind,
        row.name,
        state,
        row.spec,
        row.created_at,
        row.updated_at,
        row.error,
        row.error_code,
        row.wish,
        row.owner,
    )


def _waiting(job: Job, waits: Sequence[str]) -> str:
    """For what a job waits; which other one it is, is no user's business."""
    more = f" and {len(waits) - 1} more" if len(waits) > 1 else ""
    return f"waits for {waits[0] if job.owner is None else 'another job'}{more}"


def _refuse_over(job: Job) -> None:
    if job.is_over:
        raise Conflict(f"The job {job.id} is {job.state} already.", param="job")
    if job.wish == "cancel":
        raise Conflict(f"The job {job.id} is being cancelled.", param="job")


def _resource(job: Job | Row[Any]) -> str:
    return f"{job.kind} {job.name}"


def _stopped(job: Job) -> Stopped:
    return Stopped(
        f"The {job.kind} of '{job.name}' was stopped, as somebody wished.",
        hint=f"`baigong jobs {job.id}` shows how far it is; if paused, `baigong jobs resume {job.id}`"
        " or the same command goes on.",
    )
