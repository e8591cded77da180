"""What the pages show of a job in a line: how it stands, how far it is, what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baigong.console.hub.view import age, size
from baigong.console.view import day
from baigong.console.words import TEXT, Language, Say, pick, speaker
from baigong.industry.builds import can_go_on
from baigong.jobs import BACKGROUND, Job, StepRow

_LIVE = frozenset({"running", "queued"})
TONES = {"done": "good", "failed": "bad", "refused": "bad", "running": "live", "queued": "live"}
FINE_TUNED = "ft:"  # what the titles of OpenAI's clients' jobs begin with


@dataclass(frozen=True, slots=True)
class Far:
    """How far a step is; what it does not tell is empty."""

    step: str
    done: str
    share: str  # from 0 to 1
    loss: str
    rate: str
    left: str
    memory: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in a line; `acts` are the verbs that it obeys now."""

    id: str
    url: str
    title: str
    name: str
    kind: str
    owner: str
    state: str
    tone: str
    is_live: bool
    far: Far
    note: str
    acts: list[str]
    begun: str
    begun_at: str


def job_row(
    job: Job, last: StepRow | None, tune: StepRow | None, language: Language, *, is_all: bool
) -> JobRow:
    """
    Args:
        job: of which.
        last: the step that began last.
        tune: the one that learns, if it has begun.
        language: of the words.
        is_all: whether the reader may know of everybody's jobs.
    """
    say = speaker(language)
    declared: Mapping[str, Any] = job.spec.get("declared") or {}
    title = pick(declared.get("title"), language) or job.name
    is_live = job.state in _LIVE
    return JobRow(
        id=job.id,
        url=f"/jobs/{job.id}",
        title=title,
        name="" if title == job.name else job.name,
        kind=_kind(job, title, say),
        owner=job.owner or "",
        state=say(f"state_{job.wish or job.state}"),
        tone=TONES.get(job.state, ""),
        is_live=is_live,
        far=_far(last, tune, say, is_live=is_live),
        note=_note(job, last, say, is_all=is_all),
        acts=acts_of(job),
        begun=age(job.created_at, say),
        begun_at=day(job.created_at),
    )


def acts_of(job: Job) -> list[str]:
    """The verbs that a job obeys as it stands. What only its own command goes on with is not paused
    from here."""
    if job.wish == "cancel":
        return []
    if job.state == "failed":
        return ["resume"] if can_go_on(job) and not job.spec.get(BACKGROUND) else []
    if job.is_over:
        return []
    stands = job.state not in _LIVE or job.wish == "pause"
    return [*(["resume" if stands else "pause"] if can_go_on(job) else []), "cancel"]


def step_name(name: str, say: Say) -> str:
    """A step in the reader's language, where it is one of a build or an ingest."""
    key = f"step_{name}"
    return say(key) if key in TEXT else name


def span(seconds: float, say: Say) -> str:
    """A length of time in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return say("span_hours", hours=minutes // 60, minutes=minutes % 60)
    if minutes:
        return say("span_minutes", minutes=minutes, seconds=rest)
    return say("span_seconds", seconds=rest if seconds >= 1 else f"{seconds:.1f}")


def _kind(job: Job, title: str, say: Say) -> str:
    if title.startswith(FINE_TUNED):
        return say("kind_tuning")
    return say(f"kind_{job.kind}") if job.kind in {"build", "ingest"} else job.kind


def _far(last: StepRow | None, tune: StepRow | None, say: Say, *, is_live: bool) -> Far:
    """The step that runs; of learning, how it stood last."""
    now = (last.progress if last else None) or {}
    learnt = (tune.progress if tune else None) or {}
    metrics, of_now = learnt.get("metrics") or {}, now.get("metrics") or {}
    total = now.get("total") or 0
    runs = is_live and last is not None and last.state != "done"
    share = min(1.0, now.get("done", 0) / total) if runs and total else None
    loss, memory = metrics.get("loss"), metrics.get("memory_bytes")
    return Far(
        step=step_name(last.name, say) if last else "",
        done=_done(now, say) if runs else "",
        share="" if share is None else f"{share:.3f}",
        loss="" if loss is None else f"{loss:.3f}",
        rate=f"{learnt.get('rate', 0):,.0f}" if loss is not None else "",
        left=_left(now, of_now, say) if runs else "",
        memory=size(memory) if memory else "",
    )


def _done(now: Mapping[str, Any], say: Say) -> str:
    metrics, total = now.get("metrics") or {}, now.get("total") or 0
    if "steps" in metrics:
        return say("step_of", step=f"{metrics['step']:,.0f}", steps=f"{metrics['steps']:,.0f}")
    return f"{100 * min(1.0, now['done'] / total):.0f} %" if total and now["done"] else ""


def _left(now: Mapping[str, Any], metrics: Mapping[str, Any], say: Say) -> str:
    if "seconds_left" in metrics:
        return span(metrics["seconds_left"], say)
    rate = now.get("rate") or 0
    return span(max(0.0, now["total"] - now["done"]) / rate, say) if rate > 0 else ""


def _note(job: Job, last: StepRow | None, say: Say, *, is_all: bool) -> str:
    """For what it waits, or the first line of what went wrong."""
    if job.error and job.state in {"failed", "refused"}:
        return job.error.partition("\n")[0]
    if job.state != "queued":
        return ""
    waits = str(((last.progress if last else None) or {}).get("note", ""))
    return waits if waits and is_all else say("waits")  # it names another's job
