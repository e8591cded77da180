"""`baigong tune`: a proven, callable model from a file of rows, without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.built import build_and_show, overrides
from baigong.cli.planned import Plan, plan_and_show
from baigong.cli.screen import Json, console, errors, verb
from baigong.config import Settings
from baigong.errors import InvalidInput
from baigong.evals.metrics import DEFAULT_METRICS
from baigong.industry.tuned import recipe_of

app = verb()


@app.command()
def tune(
    file: Annotated[
        Path, typer.Argument(help="rows: CSV, TSV, JSONL, JSON, Parquet or a spreadsheet")
    ],
    base: Annotated[str, typer.Option(help="the model to tune, as `baigong pull` named it")] = (
        "sapling"
    ),
    name: Annotated[str, typer.Option(help="what applications call [the file's name]")] = "",
    task: Annotated[str, typer.Option(help="what a row is, where its columns do not tell")] = "",
    column: Annotated[
        list[str],
        typer.Option(
            "--column", help="what a column holds, e.g. prompt=Question", metavar="FIELD=COLUMN"
        ),
    ] = [],  # noqa: B006  typer reads it, nothing writes it
    epochs: Annotated[float, typer.Option(help="passes over the rows [chosen by their number]")] = (
        0.0
    ),
    minutes: Annotated[float, typer.Option(help="that the tuning may take")] = 10.0,
    set_: Annotated[
        list[str],
        typer.Option("--set", help="any field of a recipe, e.g. tune.rank=32", metavar="K=V"),
    ] = [],  # noqa: B006
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Tune a base on your own rows, prove it on rows kept back, and make it live if it is better.

    Interrupted? The same command goes on where it was. Exit code 0: it is live. 3: it was refused.
    """
    if task and task not in DEFAULT_METRICS:
        raise InvalidInput(
            f"--task {task}: no such task.", hint=f"There are {', '.join(DEFAULT_METRICS)}."
        )
    spec = {"max_minutes": minutes} | ({"epochs": epochs} if epochs else {})
    made = recipe_of(
        file,
        base,
        name,
        spec,
        task=task or None,
        columns=overrides(column, "--column"),
        overrides=overrides(set_),
    )
    platform = Platform.open(Settings.load())
    if plan:
        plan_and_show(platform, made.recipe, made.reasons, json=json)
        return
    screen = errors if json else console
    for reason in made.reasons:
        screen.print(f"[dim]·[/] {reason}", soft_wrap=True)
    build_and_show(platform, made.recipe, json=json)
