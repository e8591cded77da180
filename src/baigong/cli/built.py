"""What `build` and `tune` share: a recipe built under a person's eyes, and what came of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import typer

from baigong.app import Platform
from baigong.cli import REFUSED
from baigong.cli.live import LiveView
from baigong.cli.plot import plot
from baigong.cli.report import print_report
from baigong.cli.screen import console, duration, errors, print_json
from baigong.errors import InvalidInput
from baigong.industry.build import build
from baigong.industry.recipe import Recipe
from baigong.industry.releases import Release
from baigong.tuning.curve import Point


def overrides(given: list[str], option: str = "--set") -> dict[str, str]:
    """KEY=VALUE words as a mapping."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            example = "--set tune.epochs=3" if option == "--set" else f"{option} prompt=Question"
            raise InvalidInput(f"{option} {text!r} is not KEY=VALUE.", hint=f"e.g. {example}")
        found[key] = value
    return found


def build_and_show(platform: Platform, recipe: Recipe, *, json: bool) -> None:
    """Build the recipe, then print the verdict and what to type next; ends with code 3 if refused."""
    live = platform.releases.live().get(recipe.name)

    async def run() -> Release:
        with LiveView(errors if json else console) as view:
            try:
                return await build(platform.workshop, recipe, view)
            finally:
                await platform.close()

    release = asyncio.run(run())
    if json:
        print_json({
            "ref": release.ref,
            "passed": release.passed,
            "verdict": release.verdict,
            "report": release.report,
            "folder": str(_folder(platform, release)),
        })
    else:
        _show(platform, release, live)
    if not release.passed:
        raise typer.Exit(REFUSED)


def _folder(platform: Platform, release: Release) -> Path:
    """Where the adapter lies, or the model where that was tuned as a whole."""
    content, hub = release.content, platform.hub
    if content.adapter is None:
        return hub.get("model", content.base).folder
    return hub.get("model", content.adapter).folder


def _show(platform: Platform, release: Release, live: int | None) -> None:
    console.print()
    if curve := release.content.lineage.get("curve"):
        console.print(plot(msgspec.convert(curve, list[Point])), soft_wrap=True)
    print_report(release.report, release.verdict)
    seconds = sum(
        step.finished_at - step.started_at
        for step in platform.jobs.steps(release.job)
        if step.finished_at is not None
    )
    console.print(f"[dim]built in {duration(seconds)}[/]\n")
    name, folder = release.name, _folder(platform, release)
    if release.passed:
        console.print(f"[bold]{release.ref} is live.[/] Call it:")
        console.print(f"  baigong chat {name}")
        console.print(f"  baigong serve        then model={name!r} from any OpenAI client")
    else:
        kept = f"{name}@{live} stays live" if live is not None else f"nothing is live as '{name}'"
        console.print(
            f"{release.ref} is kept for reading (baigong releases {release.ref}); {kept}."
        )
    what = "the model" if release.content.adapter is None else "the adapter"
    console.print(f"\n[dim]{what}, its card (README.md) and its curve (curve.png, .svg, .json):[/]")
    console.print(f"  {folder}", soft_wrap=True)
