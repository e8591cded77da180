"""A job as it runs: one line a step, a bar with rate and time left, the loss as it falls."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from baigong.cli.screen import duration, size
from baigong.jobs import Output
from baigong.types import Progress

SAY_EVERY_S = 15.0  # on a pipe, where nobody sees a bar
_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 24) -> str:
    """The values as blocks, the lowest and the highest filling the height."""
    if len(values) < 2:
        return ""
    step = max(1.0, len(values) / width)
    picked = [values[int(i * step)] for i in range(int(len(values) / step))]
    low, high = min(picked), max(picked)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in picked)


class LiveView:
    """Watches a job (jobs.Watch) and draws it; on a pipe it writes one line a step instead."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done: list[tuple[str, str, str]] = []
        self._step = ""
        self._began = self._said = 0.0
        self._progress: Progress | None = None
        self._losses: list[float] = []
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._draw, transient=False
        )

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, step: str) -> None:
        self._step, self._began, self._progress = step, time.monotonic(), None
        self._said = self._began
        self._losses.clear()

    def progressed(self, step: str, progress: Progress) -> None:
        self._progress = progress
        if "loss" in progress.metrics:
            self._losses.append(progress.metrics["loss"])
        if not self._console.is_terminal and time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            loss = f"  loss {self._losses[-1]:.3f}" if self._losses else ""
            self._console.print(f"{step:<9} {figures(progress)}{loss}", soft_wrap=True)

    def finished(self, step: str, output: Output, *, again: bool) -> None:
        took = "kept" if again else duration(time.monotonic() - self._began)
        summary = str(output.get("summary", ""))
        self._done.append((step, took, summary))
        self._step = ""
        if not self._console.is_terminal:
            self._console.print(f"{step:<9} {took:>10}  {summary}", soft_wrap=True)

    def _draw(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, justify="right", style="dim")
        grid.add_column(overflow="fold")
        for step, took, summary in self._done:
            grid.add_row(Text.assemble(("✓ ", "green"), step), took, summary)
        if not self._step:
            return grid
        return Group(grid, self._running())

    def _running(self) -> RenderableType:
        line = Table.grid(padding=(0, 2))
        self._spinner.update(text=Text(self._step))
        cells: list[RenderableType] = [self._spinner]
        progress = self._progress
        if progress is not None and progress.total > 0:
            cells += [
                ProgressBar(total=progress.total, completed=progress.done, width=28),
                Text(figures(progress), style="dim"),
            ]
            if self._losses:
                curve = sparkline(self._losses)
                cells.append(Text(f"loss {self._losses[-1]:.3f} {curve}", style="cyan"))
        line.add_row(*cells)
        return line


def figures(progress: Progress) -> str:
    """How far, how fast, how long yet, and in how much memory."""
    parts = [f"{100 * min(1.0, progress.done / max(progress.total, 1)):3.0f} %"]
    if progress.rate > 0:
        left = max(0.0, progress.total - progress.done) / progress.rate
        parts += [f"{progress.rate:,.0f} {progress.unit}/s", f"{duration(left)} left"]
    if memory := progress.metrics.get("memory_bytes"):
        parts.append(size(memory))
    if progress.note:
        parts.append(progress.note)
    return "  ".join(parts)
