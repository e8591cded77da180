"""The table of an evaluation and the gate's verdict, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.table import Table

from baigong.cli.screen import console
from baigong.evals.metrics import METRICS
from baigong.evals.report import Contender, EvalReport, Score

ORDER: tuple[Contender, ...] = ("base", "incumbent", "candidate", "baseline")


def print_report(report: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    """The contenders beside each other, the slices below, and the verdict in one sentence."""
    found = msgspec.convert(report, EvalReport)
    shown = [who for who in ORDER if who in found.scores]
    console.print(_table(found, shown))
    names = (f"{who}: {found.scores[who].name}" for who in shown if found.scores[who].name != who)
    console.print(f"[dim]{'; '.join(names)}[/]")
    if found.retrieval:
        figures = (
            f"{name.replace('_at_', '@').replace('_', ' ')} {value:.2f}"
            for name, value in found.retrieval.items()
            if name != "questions"
        )
        asked = found.retrieval.get("questions", 0)
        console.print(f"[dim]retrieval on {asked:.0f} questions: {', '.join(figures)}[/]")
    if (loss := found.weights) is not None:
        console.print(
            f"[dim]{loss.dtype} weights: perplexity {loss.perplexity:.4g}, {loss.exact:.4g} in bfloat16[/]"
        )
    colour, word = ("green", "passed") if verdict["passed"] else ("red", "refused")
    console.print(f"[bold {colour}]{word}[/]  {verdict['sentence']['en']}")
    for warning in verdict.get("warnings", ()):
        console.print(f"[yellow]note[/]    {warning['en']}")


def _table(report: EvalReport, shown: Sequence[Contender]) -> Table:
    confidence = f"{100 * report.confidence:.0f} % interval"
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{report.rows} test rows, {confidence}",
        title_justify="left",
        title_style="dim",
    )
    table.add_column("", no_wrap=True)
    for who in shown:
        table.add_column(who, no_wrap=True)
    for metric in report.metrics:
        cells = [_cell(report.scores[who].metrics[metric]) for who in shown]
        table.add_row(METRICS[metric].title, *cells)
    first = report.metrics[0]
    for column, values in report.scores["candidate"].slices.items():
        for value in values:
            cells = [_cell(report.scores[who].slices[column][value][first]) for who in shown]
            table.add_row(f"  {column} {value}", *cells, style="dim")
    return table


def _cell(score: Score) -> str:
    """`.797 (.74-.84)`: four of these and a name fit 80 columns."""
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in (score.low, score.high))
    return f"{score.value:.3f}".removeprefix("0") + f" ({low}-{high})"
