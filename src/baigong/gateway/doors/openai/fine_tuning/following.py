"""What becomes of fine-tuning jobs: events as their builds go on, and what a build leaves at its end.

Everything follows from the rows of the jobs and their steps, whichever process works on them. Only
the points of the loss curve are heard directly where the build runs here, before they are rows.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from baigong.app import Platform
from baigong.errors import BaigongError
from baigong.gateway.doors.openai.fine_tuning.making import VALIDATION, Maker
from baigong.gateway.doors.openai.fine_tuning.rows import (
    Event,
    FineTuning,
    FineTunings,
    Level,
    event,
)
from baigong.gateway.doors.openai.fine_tuning.wire import metrics_of, status_of
from baigong.industry.checkpoints import TUNE_FOLDER, keep_checkpoints
from baigong.jobs import Job, Output, StepRow
from baigong.store.files import Files
from baigong.tuning.curve import Point
from baigong.types import Progress

RESULTS = "fine-tune-results"  # purpose of a file
_LOOK_S = 0.5
_TELLING_ROWS = 20  # test rows from which on a verdict says something
_COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}

_log = logging.getLogger(__name__)


class Following:
    """Belongs to one event loop."""

    def __init__(self, platform: Platform, files: Files, rows: FineTunings, maker: Maker) -> None:
        self._platform = platform
        self._files = files
        self._rows = rows
        self._maker = maker
        self._heard: dict[str, deque[Progress]] = {}
        self._looking: asyncio.Task[None] | None = None

    def watch(self, job: Job) -> Listener:
        """Who listens to a build that runs here."""
        return Listener(self._heard.setdefault(job.id, deque()))

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """What is not told yet is told after the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.look)
            except BaigongError as error:  # e.g. a full disk: the next look tries again
                _log.warning("fine-tuning jobs could not be followed: %s", error)
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Tell what is new of every job."""
        for row in self._rows.unfinished():
            if row.job is not None:
                job, steps = self._platform.jobs.get(row.job), self._platform.jobs.steps(row.job)
                self._follow(row, job, steps)

    def _follow(self, row: FineTuning, job: Job, steps: Sequence[StepRow]) -> None:
        heard = self._heard.get(job.id, deque())
        points = [_heard_event(row, heard.popleft()) for _ in range(len(heard))]
        if points:
            self._rows.tell(points)
        status = status_of(row, job, steps)
        if status != row.status and not job.is_over:
            told = list(_told(row, status, steps))
            self._rows.change(row.id, told, status=status)
            if status == "paused":
                base = next((s.output["base"] for s in steps if s.name == "plan" and s.output), "")
                folder = self._platform.settings.jobs_folder / job.id
                kept = keep_checkpoints(self._platform.hub, row.name, base, folder / TUNE_FOLDER)
                self._name_checkpoints(row, kept)
        if job.is_over:
            self._heard.pop(job.id, None)
            self._end(row, job, steps)

    def _end(self, row: FineTuning, job: Job, steps: Sequence[StepRow]) -> None:
        """What a job leaves, and the last word of it."""
        if job.state == "done":
            self._succeed(row, {step.name: step.output or {} for step in steps}, steps)
        else:
            told = _told(row, "cancelled", steps) if job.state == "cancelled" else []
            folder = self._maker.folder(row.name)
            error = None if job.state == "cancelled" else _error(job, folder)
            if error is not None:
                told = [event(row, str(error["message"]), "error")]
            status = "cancelled" if error is None else "failed"
            self._rows.change(row.id, told, status=status, error=error, finished_at=time.time())
        shutil.rmtree(self._maker.folder(row.name), ignore_errors=True)

    def _succeed(
        self, row: FineTuning, outputs: Mapping[str, Output], steps: Sequence[StepRow]
    ) -> None:
        tune = next(step for step in steps if step.name == "tune")
        curve = msgspec.convert(outputs["tune"]["curve"], list[Point])
        ended = tune.finished_at or time.time()
        total = curve[-1].step
        self._rows.tell([
            _point_event(row, point, total, ended - (curve[-1].seconds - point.seconds))
            for point in curve
        ])
        self._platform.aliases.put(row.called, release=outputs["release"]["ref"])
        self._name_checkpoints(row, outputs["tune"]["checkpoints"])
        files = self._files.of(row.owner)
        results = files.add("step_metrics.csv", RESULTS, io.BytesIO(_csv(curve)))
        told = [
            *_verdict(row, outputs),
            event(row, f"New fine-tuned model created: {row.called}"),
            event(row, "The job has successfully completed"),
        ]
        self._rows.change(
            row.id,
            told,
            status="succeeded",
            results=[results.id],
            tokens=outputs["tune"]["tokens"],
            finished_at=time.time(),
        )

    def _name_checkpoints(self, row: FineTuning, kept: Mapping[str, str]) -> None:
        wanted = {f"{row.called}:ckpt-step-{step}": ref for step, ref in kept.items()}
        for name, ref in wanted.items():
            self._platform.aliases.put(name, adapter=ref)
        for alias in self._platform.aliases.below(row.called):
            if alias.name not in wanted:  # of before a pause, and no longer among the last
                self._platform.aliases.delete(alias.name)


class Listener:
    """Hears the points of a curve (jobs.Watch)."""

    def __init__(self, heard: deque[Progress]) -> None:
        self._heard = heard

    def started(self, step: str) -> None: ...

    def progressed(self, step: str, progress: Progress) -> None:
        if step == "tune" and "loss" in progress.metrics:
            self._heard.append(progress)

    def finished(self, step: str, output: Output, *, again: bool) -> None: ...


def _told(row: FineTuning, status: str, steps: Sequence[StepRow]) -> Iterator[Event]:
    """What is said when a job comes to stand otherwise."""
    if row.status == "validating_files" and status in {"queued", "running"}:
        yield event(row, "Files validated, moving job to queued state")
        prepare = next((step.output for step in steps if step.name == "prepare"), None) or {}
        yield event(row, f"Rows: {prepare.get('summary', '')}")
        for warning in prepare.get("warnings", ()):
            yield event(row, warning, "warn")
    if status == "queued":
        tune = next((step for step in steps if step.name == "tune"), None)
        note = (tune.progress or {}).get("note", "") if tune is not None else ""
        if note:
            yield event(row, f"The job {note}")
    if status == "running":
        again = row.status == "paused"
        yield event(row, "Fine-tuning job resumed" if again else "Fine-tuning job started")
    if status == "paused":
        yield event(row, "Fine-tuning job paused")
    if status == "cancelled":
        yield event(row, "Fine-tuning job cancelled")


def _verdict(row: FineTuning, outputs: Mapping[str, Output]) -> Iterator[Event]:
    """How it does on the rows that were held out."""
    verdict, tested = outputs["gate"]["verdict"], outputs["evaluate"]["report"]["rows"]
    yield event(row, outputs["parity"]["summary"])
    if tested < _TELLING_ROWS:
        yield event(
            row,
            f"{tested} rows were held out to test on, too few to tell anything by: with"
            f" {_TELLING_ROWS} a difference of some 25 points begins to show.",
            "warn",
        )
    level: Level = "info" if verdict["passed"] else "warn"
    yield event(row, f"On held-out rows: {verdict['sentence']['en']}", level)


def _error(job: Job, folder: Path) -> dict[str, str | None]:
    """Why a build failed, as OpenAI's clients are told: where this machine keeps their file is not theirs."""
    message = (job.error or job.state).replace(f"{folder}/", "")
    if job.error_code not in {"invalid_data", "invalid_value"}:
        return {"code": job.error_code or "server_error", "message": message, "param": None}
    part = "validation_file" if f"{VALIDATION}:" in message.partition("\n")[0] else "training_file"
    return {"code": f"invalid_{part}", "message": message, "param": part}


def _heard_event(row: FineTuning, progress: Progress) -> Event:
    metrics = dict(progress.metrics)
    point = Point(
        step=round(metrics.pop("step")),
        tokens=round(progress.done),
        seconds=0.0,
        loss=metrics.pop("loss"),
        validation_loss=metrics.pop("validation_loss", None),
        validation_accuracy=metrics.pop("validation_accuracy", None),
        figures=metrics,
    )
    return _point_event(row, point, round(metrics["steps"]), time.time())


def _point_event(row: FineTuning, point: Point, total: int, at: float) -> Event:
    metrics = metrics_of(point)
    said = f"Step {point.step}/{total}: training loss={point.loss:.4f}"
    if point.validation_loss is not None:
        said += f", validation loss={point.validation_loss:.4f}"
    id = f"ftevent-{row.short}{point.step:08d}"
    data = {**metrics, "total_steps": total}
    return Event(id, row.id, at, "info", said, "metrics", data)


def _csv(curve: Sequence[Point]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for point in curve:
        metrics = metrics_of(point)
        table.writerow([point.step, *(metrics.get(c, "") for c in list(_COLUMNS.values())[1:])])
    return text.getvalue().encode()
