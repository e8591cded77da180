"""`--plan`: what a build would do and what it takes, as a person reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.screen import console, duration, errors, print_json, size
from baigong.industry.planning import BuildPlan, plan_build
from baigong.industry.recipe import Recipe

Plan = Annotated[
    bool, typer.Option("--plan", help="say what would be done and what it takes, and do nothing")
]


def plan_and_show(
    platform: Platform, recipe: Recipe, reasons: Sequence[str] = (), *, json: bool
) -> None:
    """Plan a build, with ten steps of it as a trial, and print it."""

    async def run() -> BuildPlan:
        try:
            return await plan_build(platform.workshop, recipe, reasons)
        finally:
            await platform.close()

    with errors.status("reading the rows, and trying ten steps"):
        plan = asyncio.run(run())
    if json:
        print_json(plan)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for what, text in _lines(plan):
        grid.add_row(what, text)
    console.print(grid)
    settings = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "why"):
        settings.add_column(title, overflow="fold")
    for choice in plan.choices:
        settings.add_row(choice.setting, str(choice.value), choice.why)
    console.print()
    console.print(settings)
    for problem in plan.lacking:
        console.print(f"[yellow]not yet[/]  {problem}", soft_wrap=True)
    if not plan.lacking:
        console.print("\n[dim]Another value: --set SETTING=VALUE.[/]")
        console.print("Nothing was done. The same command without --plan does it.")


def _lines(plan: BuildPlan) -> Iterator[tuple[str, str]]:
    tune, data = plan.tune, plan.data
    for reason in plan.reasons:
        yield "taken", reason
    yield "model", f"{plan.name}, for {plan.task}, on {plan.base}"
    yield "against", plan.live or "the untuned base: nothing is live yet"
    yield "rows", ", ".join(f"{count:,} {split}" for split, count in data.rows.items())
    if plan.task != "text" and tune.validation_rows < data.rows["validation"]:
        yield (
            "watched",
            f"{tune.validation_rows:,} of the validation rows, for more would take long",
        )
    for why, count in [*data.dropped.items(), *tune.dropped.items()]:
        yield "left out", f"{count:,} ({why})"
    if data.tokens:
        lengths = f"half below {data.tokens['p50']}, the longest {data.tokens['max']}"
        yield "tokens", f"{tune.tokens:,} a pass; {lengths}, of {tune.context:,} that fit"
    if data.languages:
        yield "language", ", ".join(f"{n} {100 * s:.0f} %" for n, s in data.languages.items())
    if data.near:
        yield "alike", f"{data.near:,} rows are nearly another one; they stay"
    for kind, count in data.private.items():
        yield "private", f"{kind} in {count:,} rows"
    yield "memory", f"{size(plan.memory_bytes)}; {size(plan.free_bytes)} are free"
    yield "time", _time(plan)
    points = f"{100 * plan.detectable:.0f} points"
    yield "proof", f"{plan.test_rows} test rows: differences from about {points} up will show"
    for warning in data.warnings:
        yield "note", warning


def _time(plan: BuildPlan) -> str:
    about = f"about {duration(plan.seconds)} of tuning"
    if plan.is_shortened:
        about += ", shortened to end in time"
    if plan.probe is None:
        return f"{about}, by a rough estimate"
    steps = f"{plan.tune.settings.steps} steps, {plan.probe.tokens_per_second:,.0f} tokens/s"
    return f"{about} ({steps}, as ten of them took just now)"
