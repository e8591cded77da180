"""Sources that a caller has read into a knowledge base: which may be named, and the job that reads.

Whoever calls over HTTP sits elsewhere: the disk and the buckets that this process may read are not
theirs. So they name what is on the public internet, and the places that the operator lists.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from baigong.app import Platform
from baigong.errors import BaigongError, EngineUnavailable, InvalidInput
from baigong.jobs import Job, Output, Step
from baigong.knowledge.connectors.registry import open_source
from baigong.knowledge.ingest import ingest
from baigong.types import Embed, Progress, Report

_WEB = re.compile(r"(?:(?:git|feed|sitemap|site|page)\+)?https?://", re.IGNORECASE)
_SHOWN = 20  # problems that a job's output lists

_log = logging.getLogger(__name__)


def allowed(text: str, places: Sequence[str]) -> str:
    """The source as it is opened, where a caller may name it.

    Raises:
        InvalidInput: it is on this machine, or in a bucket, and in none of `places`.
    """
    typed = text.strip()
    if _WEB.match(typed):
        return typed  # the fetcher sees to it that no host inside is reached
    if re.match(r"s3://", typed, re.IGNORECASE):
        if any(typed == place or typed.startswith(f"{place.rstrip('/')}/") for place in places):
            return typed
    elif typed and "://" not in typed and "\0" not in typed:
        path = Path(typed).resolve()
        roots = [Path(place).resolve() for place in places if "://" not in place]
        if any(path.is_relative_to(root) for root in roots):
            return str(path)
    raise InvalidInput(
        f"The source '{typed[:200]}' may not be read for a caller over HTTP.",
        hint="Give an https:// address, push the documents, run `baigong ingest` on the server, or "
        "have its operator list the place in BAIGONG_SOURCE_PLACES.",
        param="sources",
    )


class Ingests:
    """Runs ingests as jobs, one at a time for each knowledge base."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._running: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._stopping = threading.Event()

    async def start(
        self,
        name: str,
        texts: Sequence[str],
        embed: Embed | None,
        *,
        is_only: bool,
        owner: str | None,
    ) -> Job:
        """The owner's job, which goes on in the background. The same once more goes on where it was."""
        spec: Output = {"knowledge": name, "sources": list(texts), "only": is_only}
        digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
        jobs = self._platform.jobs.of(owner)
        job = await asyncio.to_thread(jobs.open, "ingest", name, digest, spec)
        task = asyncio.create_task(self._run(job, embed))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return job

    async def close(self) -> None:
        """Have them stop at their next document."""
        self._stopping.set()
        if self._running:
            await asyncio.wait(self._running)

    async def _run(self, job: Job, embed: Embed | None) -> None:
        async with self._turns.setdefault(job.name, asyncio.Lock()):
            await asyncio.to_thread(self._work, job, embed)

    def _work(self, job: Job, embed: Embed | None) -> None:
        """All of it in a thread with a loop of its own: it waits for the database and for sources."""

        async def work(_outputs: Mapping[str, Output], report: Report) -> Output:
            return self._ingest(job.spec, embed, report)

        asyncio.run(self._platform.jobs.run(job, [Step("ingest", work)], _Silent()))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The job's row says how it ended; only what nobody foresaw is for the log."""
        self._running.discard(task)
        error = task.exception()
        if error is not None and not isinstance(error, BaigongError):
            _log.error("an ingest broke", exc_info=error)

    def _ingest(self, spec: Mapping[str, Any], embed: Embed | None, report: Report) -> Output:
        settings = self._platform.settings

        def tell(progress: Progress) -> None:
            if self._stopping.is_set():
                raise EngineUnavailable(
                    "The server was stopped.", hint="Send it again: it goes on where it was."
                )
            report(progress)

        sources = [
            open_source(text, cache=settings.sources_folder, allow=settings.private_hosts)
            for text in spec["sources"]
        ]
        summary = ingest(
            self._platform.knowledge, spec["knowledge"], sources, embed, tell, only=spec["only"]
        )
        found: Output = {name: getattr(summary, name) for name in summary.__slots__}
        problems = [str(problem) for problem in summary.problems]
        return {**found, "problems": problems[:_SHOWN], "num_problems": len(problems)}


class _Silent:
    def started(self, step: str) -> None: ...
    def progressed(self, step: str, progress: Progress) -> None: ...
    def finished(self, step: str, output: Output, *, again: bool) -> None: ...
