"""The pages of jobs, and the buttons that do what the verbs of `baigong jobs` do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.console.hub.view import steps
from baigong.console.jobs.links import link_of, used_of
from baigong.console.jobs.rows import JobRow, job_row
from baigong.console.jobs.view import JobView, job_view, outputs_of
from baigong.console.render import actor_of, render, shown
from baigong.console.words import Language, language_of
from baigong.errors import NotFound
from baigong.hub.access import Actor
from baigong.hub.names import Kind
from baigong.hub.reader import PAGE, page_of
from baigong.industry.builds import hand_over
from baigong.industry.releases import Content
from baigong.jobs import Job, Jobs, StepRow
from baigong.store.points import Points

_ACTS: Mapping[str, Callable[[Jobs, str], Job]] = {
    "pause": lambda jobs, job: jobs.wish(job, "pause"),
    "resume": hand_over,
    "cancel": lambda jobs, job: jobs.wish(job, "cancel"),
}


class JobPages:
    """The endpoints. A user sees the jobs that are theirs, an operator all."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[Route]:
        return [
            Route("/jobs", self.all, methods=["GET"]),
            Route("/jobs/{job}", self.one, methods=["GET"]),
            Route("/jobs/{job}/{act}", self.change, methods=["POST"]),
        ]

    @shown
    async def all(self, request: Request) -> Response:
        """Jobs, the newest first."""
        wanted, language = request.query_params, language_of(request)
        rows, total = await asyncio.to_thread(
            self._rows, actor_of(request), page_of(wanted), language
        )
        turn = steps("/jobs", wanted, total)
        return render(request, "jobs.html", twin="/api/jobs", rows=rows, steps=turn)

    @shown
    async def one(self, request: Request) -> Response:
        """A job, which is drawn anew while it runs."""
        job, language = request.path_params["job"], language_of(request)
        view = await asyncio.to_thread(self._view, actor_of(request), job, language)
        return render(request, "job.html", twin=f"/api/jobs/{view.row.id}", job=view)

    @shown
    async def change(self, request: Request) -> Response:
        """Have a job pause, go on or end; then its page."""
        wanted = request.path_params["act"]
        act = _ACTS.get(wanted)
        if act is None:
            raise NotFound.among("act", wanted, list(_ACTS))
        jobs = self._platform.jobs.of(actor_of(request).owner)
        job = await asyncio.to_thread(act, jobs, request.path_params["job"])
        return RedirectResponse(f"/jobs/{job.id}", 303)

    def _rows(self, actor: Actor, page: int, language: Language) -> tuple[list[JobRow], int]:
        jobs = self._platform.jobs.of(actor.owner)
        found = jobs.recent(PAGE, (page - 1) * PAGE)
        ids = [job.id for job in found]
        last, tune = jobs.last_steps(ids), jobs.last_steps(ids, "tune")
        rows = [
            job_row(job, last.get(job.id), tune.get(job.id), language, is_all=actor.is_operator)
            for job in found
        ]
        return rows, jobs.count()

    def _view(self, actor: Actor, job_id: str, language: Language) -> JobView:
        jobs = self._platform.jobs.of(actor.owner)
        job, steps = jobs.get(job_id), jobs.steps(job_id)
        tune = next((step for step in steps if step.name == "tune"), None)
        last = steps[-1] if steps else None
        row = job_row(job, last, tune, language, is_all=actor.is_operator)
        points = Points(self._platform.database, job.id).last_trial()
        used = used_of(outputs_of(steps), self._made(steps))
        links = [
            link_of(one, language, can_open=self._can_open(one.kind, one.ref, actor))
            for one in used
        ]
        return job_view(job, row, steps, points, language, links)

    def _made(self, steps: Sequence[StepRow]) -> Content | None:
        """What the job's release serves, if it has come so far."""
        ref = outputs_of(steps).get("release", {}).get("ref")
        return self._platform.releases.get(ref).content if ref else None

    def _can_open(self, kind: Kind | None, ref: str, actor: Actor) -> bool:
        if kind is None:  # releases are everybody's to read
            return True
        try:
            self._platform.hub.repositories.seen(kind, ref.partition("@")[0], actor)
        except NotFound:
            return False
        return True
