"""`/api`: what no foreign protocol has: releases and their gates, jobs, knowledge, the hub, upstreams."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from baigong.app import Platform
from baigong.errors import InvalidInput
from baigong.gateway.bodies import convert, read_object
from baigong.gateway.endpoints import actor_of
from baigong.gateway.hub import HubApi
from baigong.gateway.hub_files import HubFilesApi
from baigong.gateway.knowledge import KnowledgeApi
from baigong.gateway.replies import json_reply
from baigong.industry.builds import hand_over
from baigong.industry.releases import Release
from baigong.jobs import Job, Jobs, Wish


class Promotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a release is made live, for the history."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "promoted over the API"


class Api:
    """The endpoints; all their reads and writes are the database's, so they run in threads."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._knowledge = KnowledgeApi(platform)

    def routes(self) -> Mount:
        return Mount(
            "/api",
            routes=[
                Route("/releases", self.releases, methods=["GET"]),
                Route("/releases/{ref}", self.release, methods=["GET"]),
                Route("/releases/{ref}/promote", self.promote, methods=["POST"]),
                Route("/releases/{ref}/rollback", self.rollback, methods=["POST"]),
                Route("/upstreams", self.upstreams, methods=["GET"]),
                Route("/jobs", self.jobs, methods=["GET"]),
                Route("/jobs/{job}", self.job, methods=["GET"]),
                Route("/jobs/{job}/pause", self.pause, methods=["POST"]),
                Route("/jobs/{job}/cancel", self.cancel, methods=["POST"]),
                Route("/jobs/{job}/resume", self.resume, methods=["POST"]),
                *self._knowledge.routes(),
                *HubApi(self._platform.hub, self._platform.releases).routes(),
                *HubFilesApi(self._platform.hub).routes(),
            ],
        )

    async def close(self) -> None:
        """Have what runs in the background stop."""
        await self._knowledge.ingests.close()

    async def releases(self, _request: Request) -> Response:
        """Newest first, without their reports."""

        def read() -> list[dict[str, Any]]:
            live = self._platform.releases.live()
            return [summary(r, live) for r in self._platform.releases.history()]

        return json_reply({"data": await asyncio.to_thread(read)})

    async def release(self, request: Request) -> Response:
        """`support@3` whole, or by the bare name what is live."""

        def read() -> dict[str, Any]:
            release = self._platform.releases.get(request.path_params["ref"])
            return {
                **summary(release, self._platform.releases.live()),
                "job": release.job,
                "content": release.content,
                "report": release.report,
                "verdict": release.verdict,
                "digest": release.digest,
                "signature": release.signature,
            }

        return json_reply(await asyncio.to_thread(read))

    async def promote(self, request: Request) -> Response:
        """Make a numbered release live."""
        actor_of(request).check_operates()
        ref = request.path_params["ref"]
        if "@" not in ref:
            raise InvalidInput(
                f"'{ref}' does not say which release.", hint=f"Write {ref}@NUMBER.", param="ref"
            )
        promotion = convert(await _optional_object(request), Promotion)
        releases = self._platform.releases
        previous = await asyncio.to_thread(releases.promote, ref, promotion.reason)
        name, _, number = ref.partition("@")
        return json_reply({"name": name, "live": int(number), "previous": previous})

    async def rollback(self, request: Request) -> Response:
        """Make what was live before live again."""
        actor_of(request).check_operates()
        name = request.path_params["ref"]
        before, now = await asyncio.to_thread(self._platform.releases.rollback, name)
        return json_reply({"name": name, "live": now, "previous": before})

    async def upstreams(self, _request: Request) -> Response:
        """How the servers beyond this process are doing."""
        return json_reply({"data": self._platform.upstreams.status()})

    async def jobs(self, request: Request) -> Response:
        """The last fifty of those that the caller sees, newest first."""
        jobs = await asyncio.to_thread(self._jobs(request).recent)
        return json_reply({"data": [_job(job) for job in jobs]})

    async def job(self, request: Request) -> Response:
        """One job with its steps."""

        def read() -> dict[str, Any]:
            job = self._jobs(request).get(request.path_params["job"])
            # Recipes name files of this machine, which are no user's business.
            spec = {"spec": job.spec} if actor_of(request).is_operator else {}
            return {**_job(job), **spec, "steps": self._platform.jobs.steps(job.id)}

        return json_reply(await asyncio.to_thread(read))

    async def pause(self, request: Request) -> Response:
        """Have a job stop where it is, within about a second of whoever runs it."""
        return await self._wish(request, "pause")

    async def cancel(self, request: Request) -> Response:
        """The same, for good."""
        return await self._wish(request, "cancel")

    async def resume(self, request: Request) -> Response:
        """Have this server go on with a build that was paused or interrupted."""

        def change() -> dict[str, Any]:
            return _job(hand_over(self._jobs(request), request.path_params["job"]))

        return json_reply(await asyncio.to_thread(change))

    async def _wish(self, request: Request, wish: Wish) -> Response:
        def change() -> dict[str, Any]:
            return _job(self._jobs(request).wish(request.path_params["job"], wish))

        return json_reply(await asyncio.to_thread(change))

    def _jobs(self, request: Request) -> Jobs:
        """Those that the caller sees."""
        return self._platform.jobs.of(actor_of(request).owner)


def summary(release: Release, live: dict[str, int]) -> dict[str, Any]:
    """A release in a line."""
    return {
        "ref": release.ref,
        "name": release.name,
        "number": release.number,
        "live": live.get(release.name) == release.number,
        "passed": release.passed,
        "title": release.content.title,
        "base": release.content.base,
        "task": release.content.task,
        "sentence": release.verdict.get("sentence"),
        "created_at": release.created_at,
    }


async def _optional_object(request: Request) -> dict[str, Any]:
    has_body = request.headers.get("content-length", "0") != "0"
    return await read_object(request, 1 << 16) if has_body else {}


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "name": job.name,
        "state": job.state,
        "wish": job.wish,
        "owner": job.owner,
        "error": job.error,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
    }
