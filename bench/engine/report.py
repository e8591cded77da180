"""Rows of figures: how they are judged, shown to people, and kept in bench/results/engine.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table


@dataclass
class Seen:
    """One side's figures in one work, its first run left out: that one warms up.

    Less is better in milliseconds, more in anything else.
    """

    unit: str = "tokens/s"
    figures: list[float] = field(default_factory=list)

    def add(self, figure: float) -> None:
        self.figures.append(figure)

    @property
    def is_less_better(self) -> bool:
        return self.unit == "ms"

    @property
    def best(self) -> float | None:
        """What disturbs a run can only make it worse, so that the best tells most."""
        counted = self.figures[1:]
        if not counted:
            return None
        return round(min(counted) if self.is_less_better else max(counted), 2)

    @property
    def middle(self) -> float | None:
        return round(median(self.figures[1:]), 2) if self.figures[1:] else None


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        met: None where there is no goal, or something is missing that would decide.
        agree: the share of the answers' first tokens that both sides have in common.
        each: the best of every side and kind of weights that took part.
        note: why something was not measured.
    """

    work: str
    peer: str
    ours: float | None
    theirs: float | None
    ours_median: float | None
    theirs_median: float | None
    unit: str
    ratio: float | None
    goal: float | None
    met: bool | None
    agree: float | None = None
    each: dict[str, float | None] = field(default_factory=dict)
    note: str = ""
    date: str = ""

    @classmethod
    def of(
        cls,
        work: str,
        peer: str,
        ours: Seen,
        theirs: Seen,
        goal: float | None,
        *,
        agree: float | None = None,
        each: dict[str, float | None] | None = None,
        note: str = "",
    ) -> Row:
        """Judge two sides. A goal above 2 in milliseconds is for ours alone."""
        ratio = round(ours.best / theirs.best, 3) if ours.best and theirs.best else None
        reached = ours.best if goal is not None and ours.is_less_better and goal > 2 else ratio
        met = None
        if goal is not None and reached is not None:
            met = reached <= goal if ours.is_less_better else reached >= goal
        return cls(
            work,
            peer,
            ours.best,
            theirs.best,
            ours.middle,
            theirs.middle,
            ours.unit,
            ratio,
            goal,
            met,
            agree,
            each or {},
            note,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def key(self) -> tuple[str, str]:
        """What a later measurement of the same replaces.

        A row of several weights is the same one, whichever were best then.
        """
        work = self.work.partition(" [")[0] if len(self.each) > 2 else self.work
        return work, self.peer


def table(rows: list[Row]) -> Table:
    """For people."""
    shown = Table()
    for name in ("work", "peer"):
        shown.add_column(name, overflow="fold")
    for name in ("ours", "theirs", "unit", "ratio", "goal", "agree"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("", overflow="fold")
    for row in rows:
        verdict = {True: "met", False: "below its goal", None: ""}[row.met]
        figures = [_figure(one) for one in (row.ours, row.theirs)]
        ratios = [_figure(one) for one in (row.ratio, row.goal, row.agree)]
        style = "red" if row.met is False else None
        work = row.work.replace("[", "\\[")
        shown.add_row(
            work,
            row.peer,
            *figures,
            row.unit,
            *ratios,
            f"{verdict} {row.note}".strip(),
            style=style,
        )
    return shown


def keep(path: Path, rows: list[Row], machine: dict[str, Any], versions: dict[str, str]) -> None:
    """Put these rows in place of earlier ones for the same, and leave the others."""
    kept: dict[str, Any] = {"versions": {}, "rows": []}
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
    names = set(Row.__dataclass_fields__)
    earlier = [Row(**one) for one in kept["rows"] if one.keys() <= names]
    new = {row.key for row in rows}
    every = [row for row in earlier if row.key not in new] + rows
    result = {
        "machine": machine,
        "versions": dict(sorted((kept["versions"] | versions).items())),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [asdict(row) for row in every],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
