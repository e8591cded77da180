"""`baigong rollback`: the pointer moved back."""

from __future__ import annotations

from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, verb
from baigong.config import Settings

app = verb()


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="the name, e.g. support")], json: Json = False
) -> None:
    """Make what was live before live again."""
    now, before = Platform.open(Settings.load()).releases.rollback(name)
    if json:
        print_json({"name": name, "live": before, "previous": now})
        return
    console.print(f"{name}@{before} is live again (it was @{now}).")
