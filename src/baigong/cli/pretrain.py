"""`baigong pretrain`: a foundation model from text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baigong.cli.screen import verb
from baigong.tuning.pretrain import pretrain_command

app = verb()


@app.command()
def pretrain(
    recipe: Annotated[Path, typer.Argument(help="e.g. recipes/sapling/pretrain.yaml")],
    data: Annotated[Path, typer.Option(help="the folder that the recipe's sources lie in")],
    out: Annotated[Path, typer.Option(help="where checkpoints and the model go")],
    minutes: Annotated[
        float, typer.Option(help="time budget; the schedule ends with it [the recipe's]")
    ] = 0.0,
) -> None:
    """Train a foundation model. Interrupted? The same command goes on where it was."""
    pretrain_command(recipe, data, out, minutes or None)
