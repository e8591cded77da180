"""`baigong pretrain`: a foundation model from text, or an embedder from pairs of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baigong.cli.live import LiveView
from baigong.cli.screen import errors, verb
from baigong.errors import InvalidInput
from baigong.tuning.embedder import train_embedder
from baigong.tuning.pretrain import pretrain_command

app = verb()


@app.command()
def pretrain(
    recipe: Annotated[
        Path, typer.Argument(help="e.g. recipes/sapling/pretrain.yaml, or: embedder")
    ],
    data: Annotated[
        Path, typer.Option(help="the folder of the recipe's sources; for an embedder, pairs.jsonl")
    ],
    out: Annotated[Path, typer.Option(help="where checkpoints and the model go")],
    minutes: Annotated[
        float, typer.Option(help="time budget; the schedule ends with it [the recipe's]")
    ] = 0.0,
) -> None:
    """Train a foundation model. Interrupted? The same command goes on where it was.

    `embedder` in the recipe's place learns from pairs of texts that belong together: lines of
    {"a": "...", "b": "..."}, and "source" if they are of several kinds.
    """
    if str(recipe) == "embedder":
        _embedder(data, out, minutes)
        return
    pretrain_command(recipe, data, out, minutes or None)


def _embedder(data: Path, out: Path, minutes: float) -> None:
    if minutes:
        raise InvalidInput(
            "An embedder has no time budget: it reads its pairs a fixed number of times.",
            hint="Leave --minutes out.",
            param="minutes",
        )
    with LiveView(errors) as view:
        view.started("embedder")
        model = train_embedder(data, out, lambda progress: view.progressed("embedder", progress))
        view.finished("embedder", {"summary": str(model)}, again=False)
