"""`baigong build`: from a recipe to a release, live if its gate lets it pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli.built import build_and_show, overrides
from baigong.cli.planned import Plan, plan_and_show
from baigong.cli.screen import Json, verb
from baigong.config import Settings
from baigong.industry.recipe import load_recipe

app = verb()


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="the recipe's YAML file")],
    set_: Annotated[
        list[str],
        typer.Option("--set", help="override a field, e.g. data.rows=rows.csv.gz", metavar="K=V"),
    ] = [],  # noqa: B006  typer reads it, nothing writes it
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Build a recipe. Interrupted? The same command goes on where it was.

    Exit code 0: the release is live. 3: the gate refused it; what was live stays live.
    """
    settings = Settings.load()
    declared = load_recipe(recipe, overrides(set_))
    platform = Platform.open(settings)
    if plan:
        plan_and_show(platform, declared, json=json)
    else:
        build_and_show(platform, declared, json=json)
