"""What the page of one job shows, as plain values in one language."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baigong.console.charts import Curve, loss_curve
from baigong.console.jobs.links import LinkView
from baigong.console.jobs.rows import TONES, JobRow, span, step_name
from baigong.console.view import Proof, proof_view
from baigong.console.words import TEXT, Language, Say, speaker
from baigong.jobs import Job, Output, StepRow
from baigong.store.points import Told

Outputs = Mapping[str, Output]

_DROPPED = {
    "duplicate": "dropped_duplicate",
    "contradiction": "dropped_contradiction",
    "nearly a test row": "dropped_leak",
    "too long": "dropped_long",
}


@dataclass(frozen=True, slots=True)
class StepView:
    """A step; `tone` as of a badge."""

    name: str
    state: str
    tone: str
    took: str
    summary: str


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened while it learned; times are local."""

    at: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class ChoiceView:
    setting: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class JobView:
    """A job whole. `point` stands for a curve that is too short to be drawn."""

    row: JobRow
    failure: str
    remedy: str
    figures: list[tuple[str, str]]
    curve: Curve | None
    point: str
    events: list[EventView]
    steps: list[StepView]
    choices: list[ChoiceView]
    rows: list[tuple[str, str]]
    warnings: list[str]
    proof: Proof | None
    links: list[LinkView]


def job_view(
    job: Job,
    row: JobRow,
    steps: Sequence[StepRow],
    points: Sequence[Told],
    language: Language,
    links: list[LinkView],
) -> JobView:
    """Everything the page of one job shows."""
    say, outputs = speaker(language), outputs_of(steps)
    drawn = outputs.get("tune", {}).get("curve") or [_point(told) for told in points]
    last = drawn[-1] if drawn else None
    steps_in_all = points[-1].progress.metrics.get("steps", 0) if points else 0
    curve = loss_curve(drawn, 0 if job.is_over else round(steps_in_all))
    verdict = outputs.get("gate", {}).get("verdict")
    return JobView(
        row=row,
        failure=(job.error or "") if job.state in {"failed", "refused"} else "",
        remedy=_remedy(job, row, say),
        figures=_figures(row, last, steps, say),
        curve=curve,
        point=_one_point(last, say) if curve is None and last else "",
        events=_events(points, say),
        steps=[_step(step, job, say) for step in steps],
        choices=[_choice(one, language) for one in outputs.get("plan", {}).get("choices", ())],
        rows=_rows(outputs, say),
        warnings=list(outputs.get("prepare", {}).get("warnings", ())),
        proof=verdict and proof_view(verdict, outputs["evaluate"]["report"], language),
        links=links,
    )


def outputs_of(steps: Sequence[StepRow]) -> Outputs:
    """What the steps that are done have made."""
    return {step.name: step.output for step in steps if step.output and step.state == "done"}


def _point(told: Told) -> dict[str, Any]:
    names = ("step", "loss", "validation_loss", "validation_accuracy")
    return {name: told.progress.metrics.get(name) for name in names}


def _one_point(last: Mapping[str, Any], say: Say) -> str:
    return say("one_point", step=f"{last['step']:,.0f}", loss=f"{last['loss']:.3f}")


def _figures(
    row: JobRow, last: Mapping[str, Any] | None, steps: Sequence[StepRow], say: Say
) -> list[tuple[str, str]]:
    now = time.time() if row.is_live else 0.0
    took = sum(max(0.0, (step.finished_at or now) - step.started_at) for step in steps)
    far = row.far
    loss = "" if last is None else f"{last['loss']:.3f}"
    found = [
        (say("now"), " · ".join(filter(None, (far.step, far.done))) if row.is_live else ""),
        (say("left"), far.left),
        (say("loss_now"), loss or far.loss),
        (say("tokens_per_second"), far.rate),
        (say("memory"), far.memory),
        (say("took"), span(took, say) if took else ""),
        (say("begun"), row.begun_at),
    ]
    return [(name, value) for name, value in found if value]


def _events(points: Sequence[Told], say: Say) -> list[EventView]:
    """Evaluations, checkpoints and what was done about memory, the newest first."""
    found: list[EventView] = []
    before: Mapping[str, float] = {}
    for told in points:
        at, metrics = time.strftime("%H:%M:%S", time.localtime(told.at)), told.progress.metrics
        step = f"{metrics['step']:,.0f}"
        if (tokens := metrics.get("at_once", 0)) not in {0, before.get("at_once")}:
            said = say("event_memory", step=step, tokens=f"{tokens:,.0f}")
            found.append(EventView(at, said, "bad"))
        if (kept := metrics.get("checkpoint", 0)) not in {0, before.get("checkpoint")}:
            said = say("event_checkpoint", step=f"{kept:,.0f}")
            found.append(EventView(at, said, "muted"))
        if (loss := metrics.get("validation_loss")) is not None:
            right = f"{100 * metrics.get('validation_accuracy', 0):.0f}"
            said = say("event_evaluation", step=step, loss=f"{loss:.3f}", right=right)
            found.append(EventView(at, said, ""))
        before = metrics
    return found[::-1]


def _step(step: StepRow, job: Job, say: Say) -> StepView:
    state = step.state
    if state == "running" and job.state not in {"running", "queued"}:
        state = job.state  # its row says what it was doing when the job came to stand so
    took = "" if step.finished_at is None else span(step.finished_at - step.started_at, say)
    summary = str((step.output or {}).get("summary", ""))
    return StepView(
        step_name(step.name, say), say(f"state_{state}"), TONES.get(state, ""), took, summary
    )


def _choice(one: Mapping[str, Any], language: Language) -> ChoiceView:
    value = one["value"]
    said = f"{value:g}" if isinstance(value, float) else str(value)
    return ChoiceView(one["setting"], said, one["why_zh" if language == "zh" else "why"])


def _rows(outputs: Outputs, say: Say) -> list[tuple[str, str]]:
    """What became of the rows."""
    prepare = outputs.get("prepare", {})
    report = prepare.get("report")
    if report is None:  # of an older version
        return [(say("rows"), prepare["summary"])] if prepare else []
    counts = report["rows"]
    dropped = {**report["dropped"], **outputs.get("plan", {}).get("tune", {}).get("dropped", {})}
    tokens = report["tokens"]
    found = [(say(f"rows_{split}"), f"{count:,}") for split, count in counts.items()]
    found += [(say("dropped"), f"{count:,} · {_why(why, say)}") for why, count in dropped.items()]
    if tokens:
        found.append((say("length"), say("lengths", half=tokens["p50"], longest=tokens["max"])))
    if languages := report["languages"]:
        shares = sorted(languages.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
        found.append((say("field_language"), told))
    if report["near"]:
        found.append((say("near"), f"{report['near']:,}"))
    if report["private"]:
        told = ", ".join(f"{kind} {count:,}" for kind, count in report["private"].items())
        found.append((say("personal"), told))
    return found


def _why(reason: str, say: Say) -> str:
    key = _DROPPED.get(reason, "")
    return say(key) if key in TEXT else reason


def _remedy(job: Job, row: JobRow, say: Say) -> str:
    """What to do now."""
    if job.state == "interrupted":
        return say("remedy_interrupted") if "resume" in row.acts else say("remedy_again")
    if job.state == "paused":
        return say("remedy_paused") if "resume" in row.acts else say("remedy_again")
    if job.state == "failed":
        return say("remedy_failed") if "resume" in row.acts else say("remedy_new")
    return say("remedy_refused") if job.state == "refused" else ""
