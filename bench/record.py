"""How a benchmark leaves its figures: a table for people, and bench/results/NAME.json."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

FOLDER = Path(__file__).parent / "results"


def record(
    name: str, rows: list[dict[str, Any]], libraries: Sequence[str] = (), **facts: Any
) -> None:
    """Write `rows`, the versions of Baigong and of `libraries`, the date, and other `facts`."""
    versions = {name: importlib.metadata.version(name) for name in ("baigong", *libraries)}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    result = {**facts, "versions": versions, "date": date, "rows": rows}
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")


def row(
    work: str,
    ours: float | None,
    unit: str = "",
    *,
    goal: float | None = None,
    is_less_better: bool | None = None,
    peer: str = "",
    theirs: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A figure. With a peer, `goal` bounds the ratio of ours to theirs, else the figure itself.

    Less is better in times, where nobody says otherwise.
    """
    if is_less_better is None:
        is_less_better = unit in {"ms", "s"}
    ratio = None if theirs is None or ours is None else ours / theirs
    judged = ours if theirs is None else ratio
    met = None
    if goal is not None and judged is not None:
        met = judged <= goal if is_less_better else judged >= goal
    return {
        "work": work,
        "peer": peer,
        "ours": None if ours is None else round(ours, 4),
        "theirs": None if theirs is None else round(theirs, 4),
        "unit": unit,
        "ratio": None if ratio is None else round(ratio, 3),
        "goal": None if goal is None else f"{'<=' if is_less_better else '>='} {goal}",
        "met": met,
        "note": note,
    }


def keep(name: str, rows: Sequence[dict[str, Any]], libraries: Sequence[str] = ()) -> None:
    """Put these rows in place of earlier ones of the same work and peer."""
    path = FOLDER / f"{name}.json"
    before = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    new = {(one["work"], one["peer"]) for one in rows}
    kept = [one for one in before if (one["work"], one["peer"]) not in new]
    machine = {
        "cores": psutil.cpu_count(logical=False),
        "cpu": platform.processor() or platform.machine(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_average": round(os.getloadavg()[0], 1),  # others' work shows in the times
        "python": platform.python_version(),
    }
    record(name, [*kept, *rows], libraries, machine=machine)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows as a person reads them."""
    shown = Table()
    for name in ("work", "ours", "unit", "peer", "theirs", "ratio", "goal", ""):
        shown.add_column(name, justify="right" if name in {"ours", "theirs", "ratio"} else "left")
    for one in rows:
        met = {True: "met", False: "missed", None: ""}[one["met"]]
        cells = (one[name] for name in ("work", "ours", "unit", "peer", "theirs", "ratio", "goal"))
        shown.add_row(*("" if cell is None else str(cell) for cell in cells), met)
    return shown
