"""What the verbs share: consoles, tables, and how a number, an age or a size is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from baigong.types import Progress, Report

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def verb(**settings: Any) -> typer.Typer:
    """The Typer app of one verb; every verb file makes one, named `app`."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, **settings)


def print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


@contextmanager
def bar(label: str, *, quiet: bool) -> Iterator[Report]:
    """A bar of bytes on the terminal's error side, for the length of the block."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=errors, disable=quiet or not errors.is_terminal) as bars:
        task = bars.add_task(label, total=None)

        def report(progress: Progress) -> None:
            bars.update(task, completed=progress.done, total=progress.total)

        yield report


def age(at: float) -> str:
    """Seconds since the epoch as `3 min ago`."""
    seconds = max(0.0, time.time() - at)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 10 s`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"
