"""`baigong jobs`: long work, how far it is, and having it pause, go on or end."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.live import LiveView
from baigong.cli.screen import Json, age, console, duration, errors, print_json, verb
from baigong.config import Settings
from baigong.errors import InvalidInput
from baigong.industry.build import KIND, go_on
from baigong.jobs import BACKGROUND, Job, Jobs, StepRow

app = verb()

_ACTS = ("pause", "resume", "cancel")


@app.command()
def jobs(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[ID|ACT]", help="a job's id, to see its steps; or pause, resume or cancel"
        ),
    ] = "",
    job: Annotated[
        str, typer.Argument(metavar="[ID]", help="the job that is to pause, resume or end")
    ] = "",
    json: Json = False,
) -> None:
    """List jobs, newest first; show one job's steps; or have one pause, go on or end.

    What runs sees it within about a second, whichever process it is. `resume` goes on with a build
    here; one that a server began goes on in a server.
    """
    platform = Platform.open(Settings.load())
    if job:
        _show(platform.jobs, _act(platform, what, job, json).id, json)
    elif what in _ACTS:
        raise InvalidInput(
            f"`baigong jobs {what}` needs a job's id.", hint="`baigong jobs` lists them."
        )
    elif what:
        _show(platform.jobs, what, json)
    else:
        _list(platform.jobs, json)


def _act(platform: Platform, what: str, job: str, json: bool) -> Job:
    if what not in _ACTS:
        raise InvalidInput(f"A job cannot '{what}'.", hint=f"Write one of {', '.join(_ACTS)}.")
    if what != "resume":
        return platform.jobs.wish(job, "pause" if what == "pause" else "cancel")
    resumed = platform.jobs.resume(job)
    if resumed.spec.get(BACKGROUND) or resumed.state in {"running", "queued"}:
        return resumed
    if resumed.kind != KIND:
        raise InvalidInput(
            f"A job of the kind '{resumed.kind}' is not resumed from here.",
            hint="The command or request that began it goes on where it was.",
        )

    async def run() -> None:
        with LiveView(errors if json else console) as view:
            try:
                await go_on(platform.workshop, resumed, view)
            finally:
                await platform.close()

    asyncio.run(run())
    return resumed


def _list(store: Jobs, json: bool) -> None:
    found = store.recent()
    if json:
        print_json([
            {
                "id": j.id,
                "kind": j.kind,
                "name": j.name,
                "state": j.state,
                "error": j.error,
                "created_at": j.created_at,
            }
            for j in found
        ])
        return
    if not found:
        console.print("No job yet.")
        return
    table = Table("id", "job", "state", "step", "begun", "", box=None, pad_edge=False)
    for j in found:
        steps = store.steps(j.id)
        last = steps[-1].name if steps else ""
        said = (j.error or "").split("\n")[0][:70] or _note(j, steps)
        table.add_row(j.id, f"{j.kind} {j.name}", j.state, last, age(j.created_at), said)
    console.print(table)


def _show(store: Jobs, job_id: str, json: bool) -> None:
    job, steps = store.get(job_id), store.steps(job_id)
    if json:
        rows = [
            {"name": s.name, "state": s.state, "seconds": _seconds(s), "progress": s.progress}
            for s in steps
        ]
        print_json({
            "id": job.id,
            "state": job.state,
            "wish": job.wish,
            "error": job.error,
            "steps": rows,
        })
        return
    wish = f" (to {job.wish})" if job.wish else ""
    console.print(f"{job.kind} {job.name}: {job.state}{wish}, begun {age(job.created_at)}")
    table = Table("step", "state", "time", "", box=None, pad_edge=False)
    for step in steps:
        progress = step.progress or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        far = f"{100 * done / total:.0f} %" if total and step.state != "done" else ""
        table.add_row(step.name, step.state, duration(_seconds(step)), far)
    console.print(table)
    if note := _note(job, steps):
        console.print(note)
    if job.error:
        console.print(job.error)


def _note(job: Job, steps: list[StepRow]) -> str:
    """For what a job waits that is in line."""
    is_waiting = job.state == "queued" and steps and steps[-1].progress
    return str((steps[-1].progress or {}).get("note", "")) if is_waiting else ""


def _seconds(step: StepRow) -> float:
    return 0.0 if step.finished_at is None else step.finished_at - step.started_at
