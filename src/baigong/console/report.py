"""The evaluation report of a release, as the tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from baigong.console.words import Language, Say, speaker
from baigong.evals.metrics import METRICS
from baigong.evals.report import Contender, EvalReport, Example
from baigong.evals.text import language_of

ORDER: tuple[Contender, ...] = ("base", "baseline", "incumbent", "candidate")
_MOST_EXAMPLES = 5
_CUT = 400  # characters, where the report cuts its examples


@dataclass(frozen=True, slots=True)
class ScoreView:
    """One contender's score with its interval, all in 0..1."""

    kind: Contender
    label: str
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """For those who do not see the bar."""
        return f"{self.label}: {self.value:.3f} ({self.low:.3f} – {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class SliceView:
    """A group of rows: the candidate beside the contender that it has to beat."""

    name: str
    rows: int
    before: float
    now: float
    difference: float
    is_worse: bool  # by more than chance: the whole interval lies below 0


@dataclass(frozen=True, slots=True)
class MeasureView:
    """One metric over all contenders."""

    name: str
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class ReportView:
    """The tables. `rival` is whom the candidate is held against: what was live, else the base."""

    metric: str
    rows: int
    percent: str
    rival: str
    scores: list[ScoreView]
    slices: list[SliceView]
    labels: list[str]
    measures: list[MeasureView]
    wins: list[Example]
    losses: list[Example]


def report_view(report: Mapping[str, Any], language: Language) -> ReportView | None:
    """The report in one language; None where there is none that this version can read."""
    found = read_report(report)
    if found is None:
        return None
    say = speaker(language)
    metric = found.metrics[0]
    rival = _rival(found)
    who = [contender for contender in ORDER if contender in found.scores]
    comparison = found.against(rival, metric) if rival is not None else None
    return ReportView(
        metric=_title(metric, language),
        rows=found.rows,
        percent=f"{100 * found.confidence:g}",
        rival=say(rival or "base"),
        scores=[_score(found, contender, metric, say) for contender in who],
        slices=_slices(found, rival, metric),
        labels=[say(contender) for contender in who],
        measures=[_measure(found, who, name, language) for name in found.metrics[1:]],
        wins=_examples(found, comparison.wins if comparison else ()),
        losses=_examples(found, comparison.losses if comparison else ()),
    )


def read_report(report: Mapping[str, Any]) -> EvalReport | None:
    """The report as it was written, unless it is empty or of a shape that this version lacks."""
    try:
        found = msgspec.convert(dict(report), EvalReport)
    except msgspec.ValidationError:
        return None
    return found if found.metrics and "candidate" in found.scores else None


def questions(report: Mapping[str, Any], language: Language, most: int = 4) -> list[str]:
    """Prompts of held-out rows, whole and short, for people to try: those in the reader's language
    come first, and of these the ones that the candidate won."""
    found = read_report(report)
    if found is None:
        return []
    examples = [e for c in found.comparisons for e in c.wins]
    examples += [e for c in found.comparisons for e in c.losses]
    prompts = [e.prompt for e in _examples(found, examples, len(examples))]
    short = [prompt for prompt in prompts if 0 < len(prompt) <= 160]
    short.sort(key=lambda prompt: language_of(prompt) != language)
    return list(dict.fromkeys(short))[:most]


def _rival(report: EvalReport) -> Contender | None:
    order: tuple[Contender, ...] = ("incumbent", "base", "baseline")
    return next((contender for contender in order if contender in report.scores), None)


def _title(metric: str, language: Language) -> str:
    known = METRICS.get(metric)
    if known is None:
        return metric
    return known.title_zh if language == "zh" else known.title


def _score(report: EvalReport, who: Contender, metric: str, say: Say) -> ScoreView:
    score = report.scores[who].metrics[metric]
    return ScoreView(who, say(who), score.value, score.low, score.high)


def _slices(report: EvalReport, rival: Contender | None, metric: str) -> list[SliceView]:
    comparison = report.against(rival, metric) if rival is not None else None
    if rival is None or comparison is None:
        return []
    theirs, mine = report.scores[rival].slices, report.scores["candidate"].slices
    return [
        SliceView(
            f"{column}: {value}",
            difference.n,
            theirs[column][value][metric].value,
            mine[column][value][metric].value,
            difference.value,
            difference.high < 0,
        )
        for column, values in comparison.slices.items()
        for value, difference in values.items()
    ]


def _measure(
    report: EvalReport, who: Sequence[Contender], metric: str, language: Language
) -> MeasureView:
    scores = [report.scores[contender].metrics.get(metric) for contender in who]
    values = [None if score is None else score.value for score in scores]
    return MeasureView(_title(metric, language), values)


def _examples(
    report: EvalReport, examples: Sequence[Example], most: int = _MOST_EXAMPLES
) -> list[Example]:
    """Examples whose prompt is whole; a grounded one's begins with its passages, which are left out."""
    found = []
    for example in examples:
        prompt = example.prompt
        if report.task == "grounded":
            _, blank, prompt = prompt.rpartition("\n\n")
            is_whole = bool(blank)
        else:
            is_whole = len(prompt) < _CUT
        if is_whole:
            found.append(msgspec.structs.replace(example, prompt=prompt.strip()))
    return found[:most]
