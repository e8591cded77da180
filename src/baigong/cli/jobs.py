"""`baigong jobs`: long work, and how far it is."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.screen import Json, age, console, duration, print_json, verb
from baigong.config import Settings
from baigong.jobs import Jobs, StepRow

app = verb()


@app.command()
def jobs(
    job: Annotated[str, typer.Argument(help="a job's id, to see its steps")] = "",
    json: Json = False,
) -> None:
    """List jobs, newest first, or show one job's steps."""
    store = Platform.open(Settings.load()).jobs
    if job:
        _show(store, job, json)
        return
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
        error = (j.error or "").split("\n")[0][:70]
        table.add_row(j.id, f"{j.kind} {j.name}", j.state, last, age(j.created_at), error)
    console.print(table)


def _show(store: Jobs, job_id: str, json: bool) -> None:
    job, steps = store.get(job_id), store.steps(job_id)
    if json:
        rows = [
            {"name": s.name, "state": s.state, "seconds": _seconds(s), "progress": s.progress}
            for s in steps
        ]
        print_json({"id": job.id, "state": job.state, "error": job.error, "steps": rows})
        return
    console.print(f"{job.kind} {job.name}: {job.state}, begun {age(job.created_at)}")
    table = Table("step", "state", "time", "", box=None, pad_edge=False)
    for step in steps:
        progress = step.progress or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        far = f"{100 * done / total:.0f} %" if total and step.state != "done" else ""
        table.add_row(step.name, step.state, duration(_seconds(step)), far)
    console.print(table)
    if job.error:
        console.print(job.error)


def _seconds(step: StepRow) -> float:
    return 0.0 if step.finished_at is None else step.finished_at - step.started_at
