"""`baigong models`: well-known open models, where they are, and what can be done with each here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Column, Table

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, verb
from baigong.config import Settings
from baigong.hub.catalogue import Model, Use, models

app = verb()


@app.command(name="models")
def list_models(
    words: Annotated[
        list[str] | None, typer.Argument(help="that the name or the family must have")
    ] = None,
    task: Annotated[str, typer.Option(help="such as text-generation")] = "",
    license: Annotated[str, typer.Option(help="such as apache-2.0")] = "",
    language: Annotated[str, typer.Option(help="such as zh")] = "",
    can: Annotated[Use | None, typer.Option(help="what must be possible with it")] = None,
    most: Annotated[float, typer.Option(help="billions of parameters at most; 0 is any")] = 0,
    here: Annotated[bool, typer.Option("--here", help="those in the hub alone")] = False,
    json: Json = False,
) -> None:
    """List well-known open models, and what can be done with each here; `baigong pull` brings one."""
    names = {name.lower() for name in Platform.open(Settings.load()).hub.names("model")}
    found = [
        (model, model.name.lower() in names or model.modelscope.lower() in names)
        for model in models()
        if _has(model, words or [])
        and task in {"", model.task}
        and license in {"", model.license}
        and (not language or language in model.languages)
        and (can is None or can in model.uses)
        and (not most or 0 < model.billions <= most)
    ]
    found = [(model, is_here) for model, is_here in found if is_here or not here]
    if json:
        print_json([_public(model, is_here=is_here) for model, is_here in found])
    elif found:
        console.print(_table(found))
    else:
        console.print("None is known that is so. `baigong pull` brings others too, by their names.")


def _has(model: Model, words: Iterable[str]) -> bool:
    text = f"{model.name} {model.modelscope} {model.family}".lower()
    return all(word.lower() in text for word in words)


def _public(model: Model, *, is_here: bool) -> dict[str, Any]:
    facts = msgspec.to_builtins(model)
    return {**facts, "uses": model.uses, "native": model.is_native, "here": is_here}


def _table(found: Iterable[tuple[Model, bool]]) -> Table:
    name = Column("model", no_wrap=True)
    table = Table(
        "", name, "task", "parameters", "context", "licence", "can", box=None, pad_edge=False
    )
    for model, is_here in found:
        table.add_row(
            "[green]here[/]" if is_here else "",
            model.name,
            model.task,
            f"{model.billions:g} B" if model.billions else "",
            f"{model.context:,}" if model.context else "",
            model.license,
            ", ".join(model.uses) or "[dim]only host[/]",
        )
    return table
