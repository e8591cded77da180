"""Jobs in every state that a page has to show, as rows: nothing of them runs."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
from sqlalchemy import update

from baigong.app import Platform
from baigong.jobs import Job
from baigong.store.leases import lease
from baigong.store.points import Points
from baigong.store.tables import jobs, steps
from baigong.types import Progress

EVIL = '<img src=x onerror=alert(1)> & "quoted"'
STEPS = 300


def put(
    platform: Platform,
    name: str,
    *,
    owner: str | None = None,
    title: str = "",
    kind: str = "build",
    points: int = 0,
    done: dict[str, dict[str, Any]] | None = None,
    now: str = "",
    **values: Any,
) -> Job:
    """A job that has done some steps and is at `now`, with so many points of its tuning.

    Args:
        platform: where.
        name: of the job.
        owner: whose it is.
        title: of its recipe.
        kind: of the job.
        points: of its curve.
        done: steps with their outputs.
        now: the step that runs.
        values: of its row.
    """
    # Not one of the background, or a server that looks on would begin with it at once.
    spec = {"declared": {"title": {"en": title}}} if kind == "build" else {}
    job = platform.jobs.of(owner).open(kind, name, name[:64], spec)
    begun = time.time() - 600
    told = [_told(number, points) for number in range(1, points + 1)]
    kept = Points(platform.database, job.id)
    for one in told:
        kept.hear(one)
    kept.keep()
    rows = [
        {
            "name": step,
            "state": "done",
            "finished_at": begun + i + 4,
            "output": output,
            "progress": msgspec.to_builtins(point(STEPS)) if step == "tune" else None,
        }
        for i, (step, output) in enumerate((done or {}).items())
    ]
    if now:
        progress = msgspec.to_builtins(told[-1] if told else Progress(0, 1))
        rows.append({"name": now, "state": "running", "progress": progress})
    with platform.database.begin() as connection:
        for i, row in enumerate(rows):
            place = {"job": job.id, "attempts": 1, "started_at": begun + i}
            connection.execute(steps.insert().values(**place, **row))
        if values:
            one = {"updated_at": time.time(), **values}
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(**one))
    return platform.jobs.get(job.id)


def held(platform: Platform, job: Job) -> Any:
    """As if a process ran the job for the length of the block."""
    return lease(platform.database, f"{job.kind} {job.name}")


def point(number: int, total: int = STEPS) -> Progress:
    """How a tuning stands after a step."""
    metrics = {
        "step": number,
        "steps": total,
        "loss": 0.3 + 3 * math.exp(-number / 40),
        "seconds_left": 0.9 * (total - number),
        "memory_bytes": 1.4e9,
        "checkpoint": number // 50 * 50,
    }
    if number % 20 == 0:
        metrics |= {
            "validation_loss": 0.45 + 3 * math.exp(-number / 40),
            "validation_accuracy": min(0.95, number / 200),
        }
    if number > 70:
        metrics["at_once"] = 2048
    return Progress(number * 900, total * 900, "tokens", 1234.0, metrics, f"step {number}")


def _told(number: int, points: int) -> Progress:
    return point(number, max(points, STEPS))


def outputs(report: dict[str, Any], verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the steps of a build leave that came to its end."""
    curve = [
        {
            "step": n,
            "loss": point(n).metrics["loss"],
            "validation_loss": point(n).metrics.get("validation_loss"),
        }
        for n in range(1, STEPS + 1)
    ]
    rank = {
        "setting": "tune.rank",
        "value": 64,
        "why": "the base is small (6.5 M weights): there is little to reuse",
        "why_zh": "基座较小（6.5 M 参数）：可复用的少",
    }
    rate = {
        "setting": "tune.learning_rate",
        "value": 0.002,
        "why": "as you say",
        "why_zh": "按你的设置",
    }
    return {
        "plan": {
            "base": "tests/tiny@0123456789abcdef",
            "tune": {"dropped": {"too long": 3}},
            "choices": [rank, rate],
            "summary": "nothing is live yet; lora (rank 64), 96 rows of 2,100 tokens",
        },
        "prepare": {
            "dataset": "recipes/desk@fedcba9876543210",
            "warnings": ["one text, several answers, all dropped: rows.csv:4 'a', rows.csv:9 'b'"],
            "report": {
                "rows": {"train": 96, "validation": 12, "test": 60},
                "dropped": {"duplicate": 4, "contradiction": 2},
                "languages": {"zh": 0.7, "en": 0.3},
                "tokens": {"p50": 22, "p90": 40, "p99": 60, "max": 71},
                "near": 5,
                "private": {"phone": 2},
            },
            "summary": "96 train, 12 validation, 60 test rows",
        },
        "ground": {"version": None, "summary": "no knowledge in this recipe"},
        "tune": {
            "curve": curve,
            "result": "tests/support@0123456789abcdef",
            "folder": "tune/adapter",
            "checkpoints": {"280": "tests/support@0123456789abcdef"},
            "summary": "300 steps, 270,000 tokens, loss 0.302",
        },
        "parity": {"summary": "8 prompts agree in bytes, token ids and answers"},
        "evaluate": {"report": report, "summary": "60 test rows, 4 contenders"},
        "gate": {"verdict": verdict, "summary": "passed"},
        "release": {"ref": "support@1", "summary": "support@1  0123456789ab"},
        "promote": {"live": "support@1", "summary": "support@1 answers as 'support'"},
    }
