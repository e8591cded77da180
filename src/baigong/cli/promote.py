"""`baigong promote`: the pointer moved to a release that passed its gate."""

from __future__ import annotations

from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, verb
from baigong.config import Settings

app = verb()


@app.command()
def promote(
    ref: Annotated[str, typer.Argument(help="the release, e.g. support@3")], json: Json = False
) -> None:
    """Make a release live. A running server answers with it from its next request on."""
    previous = Platform.open(Settings.load()).releases.promote(ref, "promote")
    name, _, number = ref.partition("@")
    if json:
        print_json({"name": name, "live": int(number), "previous": previous})
        return
    before = "" if previous is None else f" (was @{previous}; `baigong rollback {name}` goes back)"
    console.print(f"{ref} is live as '{name}'{before}.")
