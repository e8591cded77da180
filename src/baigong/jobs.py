"""Durable jobs: a list of named steps, each done once, resumed at the step that was interrupted.

A step's output is a small JSON object. A step that was killed runs again from its start, so each
makes its own work repeatable (a folder keyed by the job's id, writes that end in a rename).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from baigong.errors import BaigongError, NotFound, Refused
from baigong.store.database import Database
from baigong.store.leases import held, lease
from baigong.store.room import room_for
from baigong.store.tables import jobs, steps
from baigong.types import Progress, Report

Output = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the jobs table. Its state is `interrupted` where nobody works on it any more: the
    same command, run again, goes on with it."""

    id: str
    kind: str
    name: str
    state: str
    spec: Output
    created_at: float
    updated_at: float
    error: str | None = None


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
    """The jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, kind: str, name: str, digest: str, spec: Output) -> Job:
        """The unfinished job with this digest, or a new one."""
        with self._database.begin() as connection:
            found = connection.execute(
                select(jobs)
                .where(jobs.c.kind == kind, jobs.c.name == name, jobs.c.digest == digest)
                .where(jobs.c.state.in_(["running", "failed"]))
                .order_by(jobs.c.created_at.desc())
            ).first()
            if found is not None:
                return _job(found)
            now = time.time()
            job = Job(secrets.token_hex(8), kind, name, "running", spec, now, now)
            connection.execute(
                insert(jobs).values(
                    id=job.id,
                    kind=kind,
                    name=name,
                    digest=digest,
                    state=job.state,
                    spec=spec,
                    created_at=now,
                    updated_at=now,
                )
            )
            return job

    async def run(self, job: Job, work: Sequence[Step], watch: Watch) -> dict[str, Output]:
        """Do what is left of the job; the outputs of all its steps by name.

        Raises:
            Conflict: another process works on the same kind and name.
        """
        with lease(self._database, f"{job.kind} {job.name}"):
            self._state(job.id, "running")
            try:
                outputs = await self._run(job, work, watch)
            except BaigongError as error:
                self._state(
                    job.id, "refused" if isinstance(error, Refused) else "failed", str(error)
                )
                raise
            except Exception as error:
                self._state(job.id, "failed", f"{type(error).__name__}: {error}")
                raise
            self._state(job.id, "done")
            return outputs

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
        self._begin_step(job.id, step.name)
        last = 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            watch.progressed(step.name, progress)
            if time.monotonic() - last > 1.0:  # other processes look on through the table
                last = time.monotonic()
                self._step_values(job.id, step.name, progress=msgspec.to_builtins(progress))

        with room_for(f"what {step.name} makes"):
            output = await step.work(outputs, report)
        self._step_values(job.id, step.name, state="done", output=output, finished_at=time.time())
        return output

    def recent(self, limit: int = 50) -> list[Job]:
        """Newest first."""
        with self._database.read() as connection:
            query = select(jobs).order_by(jobs.c.created_at.desc()).limit(limit)
            rows = connection.execute(query).all()
        return self._seen(rows)

    def get(self, job_id: str) -> Job:
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
            if row is None:
                raise NotFound.among("job", job_id, _ids(connection))
        return self._seen([row])[0]

    def specs(self, kind: str, name: str) -> list[Output]:
        """What was given to each job of that kind and name."""
        with self._database.read() as connection:
            query = select(jobs.c.spec).where(jobs.c.kind == kind, jobs.c.name == name)
            return list(connection.execute(query).scalars())

    def steps(self, job_id: str) -> list[StepRow]:
        """The steps that have begun, in order."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(steps).where(steps.c.job == job_id).order_by(steps.c.started_at)
            )
            return [
                StepRow(
                    row.name,
                    row.state,
                    row.attempts,
                    row.started_at,
                    row.finished_at,
                    row.progress,
                    row.output,
                )
                for row in rows
            ]

    def _seen(self, rows: Sequence[Row[Any]]) -> list[Job]:
        """As others see them: of the jobs of a kind and name only the one begun last is worked on,
        and only by a process that lives."""
        running = {(row.kind, row.name) for row in rows if row.state == "running"}
        last = {}
        living = held(self._database, [f"{kind} {name}" for kind, name in running])
        with self._database.read() as connection:
            for kind, name in running:
                query = select(jobs.c.id).where(
                    jobs.c.kind == kind, jobs.c.name == name, jobs.c.state == "running"
                )
                newest = query.order_by(jobs.c.updated_at.desc()).limit(1)
                last[connection.execute(newest).scalar()] = f"{kind} {name}" in living
        return [
            replace(_job(row), state="interrupted")
            if row.state == "running" and not last.get(row.id, False)
            else _job(row)
            for row in rows
        ]

    def _begin_step(self, job_id: str, name: str) -> None:
        with self._database.begin() as connection:
            row = connection.execute(
                select(steps.c.attempts).where(steps.c.job == job_id, steps.c.name == name)
            ).first()
            connection.execute(delete(steps).where(steps.c.job == job_id, steps.c.name == name))
            connection.execute(
                insert(steps).values(
                    job=job_id,
                    name=name,
                    state="running",
                    attempts=1 if row is None else row.attempts + 1,
                    started_at=time.time(),
                )
            )

    def _step_values(self, job_id: str, name: str, **values: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(steps).where(steps.c.job == job_id, steps.c.name == name).values(**values)
            )

    def _state(self, job_id: str, state: str, error: str | None = None) -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id)
                .values(state=state, error=error, updated_at=time.time())
            )


def _job(row: Row[Any]) -> Job:
    return Job(
        row.id,
        row.kind,
        row.name,
        row.state,
        row.spec,
        row.created_at,
        row.updated_at,
        row.error,
    )


def _ids(connection: Connection) -> list[str]:
    return list(connection.scalars(select(jobs.c.id)))
