"""`baigong build`: from a recipe to a release, live if its gate lets it pass."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from baigong.app import Platform
from baigong.cli import REFUSED
from baigong.cli.live import LiveView
from baigong.cli.report import print_report
from baigong.cli.screen import Json, console, duration, errors, print_json, verb
from baigong.config import Settings
from baigong.errors import InvalidInput
from baigong.industry.build import build as build_recipe
from baigong.industry.recipe import load_recipe
from baigong.industry.releases import Release

app = verb()


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="the recipe's YAML file")],
    set_: Annotated[
        list[str],
        typer.Option("--set", help="override a field, e.g. data.rows=rows.csv.gz", metavar="K=V"),
    ] = [],  # noqa: B006  typer reads it, nothing writes it
    json: Json = False,
) -> None:
    """Build a recipe. Interrupted? The same command goes on where it was.

    Exit code 0: the release is live. 3: the gate refused it; what was live stays live.
    """
    settings = Settings.load()
    declared = load_recipe(recipe, dict(_override(text) for text in set_))
    platform = Platform.open(settings)
    live = platform.releases.live().get(declared.name)

    async def run() -> Release:
        with LiveView(errors if json else console) as view:
            try:
                return await build_recipe(platform.workshop, declared, view)
            finally:
                await platform.close()

    release = asyncio.run(run())
    if json:
        print_json({"ref": release.ref, "passed": release.passed, "verdict": release.verdict})
    else:
        _show(platform, release, live)
    if not release.passed:
        raise typer.Exit(REFUSED)


def _override(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {text!r} is not KEY=VALUE.", hint="e.g. --set tune.epochs=3")
    return key, value


def _show(platform: Platform, release: Release, live: int | None) -> None:
    console.print()
    print_report(release.report, release.verdict)
    seconds = sum(
        step.finished_at - step.started_at
        for step in platform.jobs.steps(release.job)
        if step.finished_at is not None
    )
    console.print(f"[dim]built in {duration(seconds)}[/]\n")
    name = release.name
    if not release.passed:
        kept = f"{name}@{live} stays live" if live is not None else f"nothing is live as '{name}'"
        console.print(
            f"{release.ref} is kept for reading (baigong releases {release.ref}); {kept}."
        )
        return
    console.print(f"[bold]{release.ref} is live.[/] Call it:")
    console.print(f"  baigong chat {name}")
    console.print(f"  baigong serve        then model={name!r} from any OpenAI client")
