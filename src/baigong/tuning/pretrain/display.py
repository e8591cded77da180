"""What a person sees while it trains: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from baigong.tuning.pretrain.loop import Report


@contextmanager
def display(name: str, console: Console | None = None) -> Iterator[Callable[[Report], None]]:
    screen = console or Console(stderr=True)
    if not screen.is_terminal:
        yield lambda report: screen.print(
            f"{report.fraction:6.1%} {line(report)}", soft_wrap=True, highlight=False
        )
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TextColumn("{task.fields[line]}"), console=screen) as bar:
        task = bar.add_task(name, total=1.0, line="reading the text")

        def show(report: Report) -> None:
            bar.update(task, completed=report.fraction, line=line(report))
            if report.bits_per_byte:
                bar.console.print(line(report), highlight=False)

        yield show


def line(report: Report) -> str:
    parts = [
        f"step {report.step}",
        f"{report.tokens / 1e6:.2f} M tokens",
        f"{report.tokens_per_s:.0f} tokens/s",
        f"{report.seconds_left / 60:.0f} min left",
        f"loss {report.loss:.3f}",
    ]
    if report.bits_per_byte:
        bits = " ".join(f"{name} {value:.3f}" for name, value in report.bits_per_byte.items())
        parts.append(f"bits per byte {bits}")
    return ", ".join(parts)
