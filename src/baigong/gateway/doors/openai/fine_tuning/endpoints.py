"""The endpoints of `/v1/fine_tuning/jobs`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from baigong.app import Platform
from baigong.errors import Conflict, InvalidInput
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.doors.openai.fine_tuning.following import Following
from baigong.gateway.doors.openai.fine_tuning.making import Maker
from baigong.gateway.doors.openai.fine_tuning.rows import FineTuning, FineTunings
from baigong.gateway.doors.openai.fine_tuning.wire import (
    CreateJob,
    checkpoint_object,
    event_object,
    job_object,
    metadata_of,
)
from baigong.gateway.doors.openai.vector_stores.wire import cut_of, list_object
from baigong.gateway.endpoints import actor_of
from baigong.gateway.replies import json_reply
from baigong.industry.builds import Builds
from baigong.jobs import Job
from baigong.store.files import Files
from baigong.store.paging import Cut
from baigong.tuning.curve import Point


class FineTuningApi:
    """Fine-tuning jobs, which belong to the user who made them, their events and checkpoints."""

    def __init__(self, platform: Platform, files: Files) -> None:
        self._platform = platform
        self._rows = FineTunings(platform.database)
        self._builds = Builds(platform.workshop, lambda job: self._following.watch(job))
        self._maker = Maker(platform, files, self._rows, self._builds)
        self._following = Following(platform, files, self._rows, self._maker)

    def routes(self) -> list[Route]:
        jobs, job = "/fine_tuning/jobs", "/fine_tuning/jobs/{job}"
        return [
            Route(jobs, self.create, methods=["POST"]),
            Route(jobs, self.page, methods=["GET"]),
            Route(job, self.retrieve, methods=["GET"]),
            Route(f"{job}/events", self.events, methods=["GET"]),
            Route(f"{job}/checkpoints", self.checkpoints, methods=["GET"]),
            Route(f"{job}/cancel", self.cancel, methods=["POST"]),
            Route(f"{job}/pause", self.pause, methods=["POST"]),
            Route(f"{job}/resume", self.resume, methods=["POST"]),
        ]

    def start(self) -> None:
        """Go on with the builds that a server which ended has left behind."""
        self._following.start()
        self._builds.start()

    async def close(self) -> None:
        """Leave what is not finished to the next start."""
        await self._builds.close()
        await self._following.close()

    async def create(self, request: Request) -> Response:
        found = await read_object(request)
        try:
            asked = convert(found, CreateJob)
        except InvalidInput as error:
            if "hyperparameters." in (error.param or ""):
                error.hint = error.hint or 'Send a number, as a number, or "auto".'
            raise
        row = await asyncio.to_thread(self._maker.make, asked, actor_of(request).owner)
        self._builds.wake()
        return json_reply(await asyncio.to_thread(self._object, row))

    async def page(self, request: Request) -> Response:
        at, metadata = cut_of(request), metadata_of(request)

        def read() -> dict[str, Any]:
            found, more = self._seen(request).page(at, metadata)
            return list_object([self._object(row) for row in found], more)

        return json_reply(await asyncio.to_thread(read))

    async def retrieve(self, request: Request) -> Response:
        row = await self._of(request)
        return json_reply(await asyncio.to_thread(self._object, row))

    async def events(self, request: Request) -> Response:
        row, at = await self._of(request), cut_of(request)
        found, more = await asyncio.to_thread(self._rows.events, row, at)
        return json_reply(list_object([event_object(one) for one in found], more))

    async def checkpoints(self, request: Request) -> Response:
        """The last three, the newest first."""
        row, at = await self._of(request), cut_of(request)
        found = await asyncio.to_thread(self._checkpoints, row)
        return json_reply(_cut(found, at))

    async def cancel(self, request: Request) -> Response:
        return await self._change(request, lambda job: self._platform.jobs.wish(job, "cancel"))

    async def pause(self, request: Request) -> Response:
        return await self._change(request, lambda job: self._platform.jobs.wish(job, "pause"))

    async def resume(self, request: Request) -> Response:
        return await self._change(request, self._platform.jobs.resume)

    async def _change(self, request: Request, change: Callable[[str], Job]) -> Response:
        row = await self._of(request)
        if row.finished_at is not None or row.job is None:
            raise InvalidInput(
                f"The job {row.id} is over: its status is {row.status}.",
                param="fine_tuning_job_id",
            )
        try:
            await asyncio.to_thread(change, row.job)
        except Conflict as error:  # it is ending: a second try, which 409 would ask for, is no use
            raise InvalidInput(error.message, param="fine_tuning_job_id") from error
        self._builds.wake()
        return json_reply(await asyncio.to_thread(self._object, row))

    def _seen(self, request: Request) -> FineTunings:
        return self._rows.of(actor_of(request).owner)

    async def _of(self, request: Request) -> FineTuning:
        return await asyncio.to_thread(self._seen(request).get, request.path_params["job"])

    def _object(self, row: FineTuning) -> dict[str, Any]:
        if row.job is None:
            return job_object(row, None, [])
        jobs = self._platform.jobs
        return job_object(row, jobs.get(row.job), jobs.steps(row.job))

    def _checkpoints(self, row: FineTuning) -> list[dict[str, Any]]:
        found = []
        for alias in self._platform.aliases.below(row.called):
            adapter = self._platform.hub.get("model", alias.adapter or "")
            point = msgspec.convert(adapter.facts["point"], Point)
            found.append(checkpoint_object(row, alias, point))
        return sorted(found, key=lambda one: -int(one["step_number"]))


def _cut(found: list[dict[str, Any]], at: Cut) -> dict[str, Any]:
    """A page of a list that is short enough to be made whole."""
    if at.after is not None:
        places = [i for i, one in enumerate(found) if one["id"] == at.after]
        if not places:
            raise InvalidInput(f"after: there is no '{at.after[:80]}' in this list.", param="after")
        found = found[places[0] + 1 :]
    return list_object(found[: at.limit], len(found) > at.limit)
