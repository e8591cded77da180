"""`baigong fit`: what memory a model takes, before it is loaded, or even downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, size, verb
from baigong.compute.memory import available
from baigong.config import Settings
from baigong.errors import NotFound
from baigong.hub.peek import peek
from baigong.inference.fit import fit as work_out
from baigong.model.headers import Headers

app = verb()


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    bytes: float


@app.command()
def fit(
    model: Annotated[
        str,
        typer.Argument(help="a model in the hub, a folder, or one that `baigong pull` would bring"),
    ],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "int8", "int4"], typer.Option(help="of the weights")
    ] = "auto",
    context: Annotated[
        int | None, typer.Option(min=1, help="tokens of one sequence; all the model can by default")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="sequences at once")] = 8,
    adapters: Annotated[int, typer.Option(min=0, help="adapters in memory")] = 0,
    rank: Annotated[int, typer.Option(min=1, max=256, help="of those adapters")] = 8,
    endpoint: Annotated[str, typer.Option(help="as `baigong pull` has it")] = "",
    revision: Annotated[str, typer.Option(help="branch, tag or commit, as there")] = "",
    token: Annotated[
        str, typer.Option(envvar="HF_TOKEN", help="for gated models", show_envvar=True)
    ] = "",
    json: Json = False,
) -> None:
    """Say what memory a model takes, from its files' headers alone: nothing is downloaded."""
    headers, download = _look_up(model, endpoint or None, revision or None, token or None)
    found = work_out(
        headers,
        dtype=dtype,
        context=context,
        concurrency=concurrency,
        adapters=adapters,
        rank=rank,
    )
    free = available()
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
            "download": download,
            **{line.what: round(line.bytes) for line in lines},
        })
    else:
        console.print(f"{headers.name}: {found.parameters:,} parameters as {found.dtype}")
        if download is not None:
            console.print(f"It is not here: `baigong pull {model}` brings {size(download)}.")
        for line in lines:
            console.print(f"  {line.what:<28}{size(line.bytes):>10}")
        verdict = "[green]It fits.[/]" if found.peak <= free else "[red]It does not fit.[/]"
        console.print(verdict)
    if found.peak > free:
        raise typer.Exit(1)


def _look_up(
    model: str, endpoint: str | None, revision: str | None, token: str | None
) -> tuple[Headers, int | None]:
    """The model's headers, and the bytes to download where it is not here."""
    if (Path(model) / "config.json").exists():
        return Headers.read(Path(model)), None
    unknown: NotFound | None = None
    if "://" not in model and not endpoint and not revision:
        try:
            return Headers.read(Platform.open(Settings.load()).hub.get("model", model).folder), None
        except NotFound as error:
            if model.count("/") != 1 or "@" in model:
                raise
            unknown = error
    try:
        found = peek(model, endpoint=endpoint, revision=revision, token=token)
    except NotFound as error:
        if unknown is not None:  # names that are like it here help as well
            error.hint = f"{error.hint} {unknown.hint}".strip()
        raise
    return found.headers, found.download_bytes
