"""`baigong fit`: what memory a model takes, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import psutil
import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, size, verb
from baigong.config import Settings
from baigong.inference.fit import fit as work_out

app = verb()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    bytes: float


@app.command()
def fit(
    model: Annotated[str, typer.Argument(help="a model in the hub, or a model folder")],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "int8", "int4"], typer.Option(help="of the weights")
    ] = "auto",
    context: Annotated[
        int | None, typer.Option(min=1, help="tokens of one sequence; all the model can by default")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="sequences at once")] = 8,
    adapters: Annotated[int, typer.Option(min=0, help="adapters in memory")] = 0,
    rank: Annotated[int, typer.Option(min=1, max=256, help="of those adapters")] = 8,
    json: Json = False,
) -> None:
    """Say what memory a model takes, from its files' headers alone."""
    folder = Path(model)
    if not (folder / "config.json").exists():
        folder = Platform.open(Settings.load()).hub.get("model", model).folder
    found = work_out(
        folder,
        dtype=dtype,
        context=context,
        concurrency=concurrency,
        adapters=adapters,
        rank=rank,
    )
    free = psutil.virtual_memory().available
    lines = [
        Line("weights", found.weights),
        Line("cache", found.cache),
        Line("adapters", found.adapters),
        Line("one step's work", found.working),
        Line("the process", found.process + found.left_over),
        Line("serving, all together", found.serving),
        Line("at its peak, while loading", found.peak),
        Line("free on this machine", free),
    ]
    if json:
        print_json({
            "dtype": found.dtype,
            "parameters": found.parameters,
            "fits": found.peak <= free,
            **{line.what: round(line.bytes) for line in lines},
        })
    else:
        console.print(f"{folder.name}: {found.parameters:,} parameters as {found.dtype}")
        for line in lines:
            console.print(f"  {line.what:<28}{size(line.bytes):>10}")
        verdict = "[green]It fits.[/]" if found.peak <= free else "[red]It does not fit.[/]"
        console.print(verdict)
    if found.peak > free:
        raise typer.Exit(1)
