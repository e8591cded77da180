"""What the pages show of a release: its report and lineage as plain values in one language."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baigong.console.calls import Call, calls_of
from baigong.console.charts import Curve, loss_curve
from baigong.console.report import ReportView, questions, report_view
from baigong.console.words import Language, Say, pick, speaker
from baigong.hub.hub import BUILT_IN
from baigong.industry.releases import Content, Release


@dataclass(frozen=True, slots=True)
class Card:
    """A release in a line."""

    ref: str
    title: str
    task: str
    live: bool
    passed: bool
    built: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A verdict, and the figures that it stands on."""

    passed: bool
    sentence: str
    checks: list[tuple[bool, str]]  # (whether it holds, in words)
    warnings: list[str]
    report: ReportView | None


@dataclass(frozen=True, slots=True)
class ModelView:
    """A release whole. `name` is what a program asks for."""

    name: str
    ref: str
    title: str
    description: str
    task: str
    live: bool
    proof: Proof
    curve: Curve | None
    lineage: list[tuple[str, str]]
    calls: list[Call]
    examples: list[str]
    has_knowledge: bool
    has_labels: bool
    small_base: bool


def cards_of(
    releases: Sequence[Release], live: Mapping[str, int], language: Language
) -> list[Card]:
    """The releases as cards, in their order."""
    say = speaker(language)
    return [
        Card(
            release.ref,
            pick(release.content.title, language) or release.name,
            _task(release.content, say),
            live.get(release.name) == release.number,
            release.passed,
            day(release.created_at),
        )
        for release in releases
    ]


def model_view(release: Release, language: Language, base_url: str, *, is_live: bool) -> ModelView:
    """Everything the page of one release shows."""
    say, content = speaker(language), release.content
    examples = questions(release.report, language)
    name = release.name if is_live else release.ref
    return ModelView(
        name=name,
        ref=release.ref,
        title=pick(content.title, language) or release.name,
        description=pick(content.description, language),
        task=_task(content, say),
        live=is_live,
        proof=proof_view(release.verdict, release.report, language),
        curve=loss_curve(content.lineage.get("curve") or []),
        lineage=_lineage(release, say),
        calls=calls_of(base_url, name, examples[0] if examples else ""),
        examples=examples,
        has_knowledge=content.knowledge is not None,
        has_labels=content.task == "classification",
        small_base=content.base.startswith(f"{BUILT_IN}/"),
    )


def proof_view(verdict: Mapping[str, Any], report: Mapping[str, Any], language: Language) -> Proof:
    """A verdict and its report in one language."""
    return Proof(
        passed=bool(verdict.get("passed")),
        sentence=pick(verdict.get("sentence"), language),
        checks=[
            (bool(check["passed"]), pick(check["detail"], language))
            for check in verdict.get("checks", ())
        ],
        warnings=[pick(said, language) for said in verdict.get("warnings", ())],
        report=report_view(report, language),
    )


def _task(content: Content, say: Say) -> str:
    return say(f"task_{content.task}")


def _lineage(release: Release, say: Say) -> list[tuple[str, str]]:
    content = release.content
    knowledge = f"{content.knowledge}@{content.knowledge_version}" if content.knowledge else ""
    lines = [
        (say("built"), day(release.created_at)),
        (say("base_model"), short(content.base)),
        (say("adapter"), short(content.adapter) or say("none")),
        (say("knowledge"), knowledge or say("none")),
        (say("recipe"), short(content.lineage.get("recipe"))),
        (say("dataset"), short(content.lineage.get("dataset"))),
        (say("digest"), release.digest[:16]),
    ]
    return [(name, value) for name, value in lines if value]


def short(value: object) -> str:
    """A digest, or a `name@digest`, as far as a person reads it; the JSON twin has all of it."""
    if not isinstance(value, str):
        return ""
    name, _, revision = value.rpartition("@")
    return f"{name}@{revision[:12]}" if name else revision[:12]


def day(at: float) -> str:
    """Seconds since the epoch as a local day and minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
