"""The table of an evaluation and the gate's verdict, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.table import Table

from baigong.cli.screen import console
from baigong.evals.metrics import METRICS
from baigong.evals.report import Contender, EvalReport, Score

ORDER: tuple[Contender, ...] = ("base", "incumbent", "candidate", "baseline")


def print_report(report: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    """The contenders beside each other, the slices below, and the verdict in one sentence."""
    console.print(_table(msgspec.convert(report, EvalReport)))
    colour, word = ("green", "passed") if verdict["passed"] else ("red", "refused")
    console.print(f"[bold {colour}]{word}[/]  {verdict['sentence']['en']}")


def _table(report: EvalReport) -> Table:
    shown = [who for who in ORDER if who in report.scores]
    confidence = f"{100 * report.confidence:.0f} % interval"
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{report.rows} test rows, {confidence}",
        title_justify="left",
        title_style="dim",
    )
    table.add_column("")
    for who in shown:
        name = report.scores[who].name
        table.add_column(who if name == who else f"{who} ({name})")
    for metric in report.metrics:
        title = METRICS[metric].title
        table.add_row(title, *(_cell(report.scores[who].metrics[metric]) for who in shown))
    first = report.metrics[0]
    for column, values in report.scores["candidate"].slices.items():
        for value in values:
            cells = [_cell(report.scores[who].slices[column][value][first]) for who in shown]
            table.add_row(f"  {column} = {value}", *cells, style="dim")
    for name, figure in report.retrieval.items():
        if name != "questions":
            cells = [f"{figure:.3f}" if who == "candidate" else "" for who in shown]
            table.add_row(f"retrieval {name.replace('_', ' ')}", *cells, style="dim")
    return table


def _cell(score: Score) -> str:
    return f"{score.value:.3f} ({score.low:.3f}-{score.high:.3f})"
