"""`baigong gc`: takes away what nothing reaches."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from baigong.app import Platform
from baigong.cli.screen import Json, bar, console, print_json, size, verb
from baigong.config import Settings
from baigong.hub.garbage.collect import Collected, Garbage

app = verb()


@app.command()
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would go, and leave it")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            min=0,
            help="hours for which everything stays, reached or not; uploads that run need them",
        ),
    ] = 24.0,
    json: Json = False,
) -> None:
    """Delete bytes, commits and repositories that nothing leads to any more. Servers may run."""
    platform = Platform.open(Settings.load())
    garbage = Garbage(platform.hub, platform.database, platform.settings.cache_folder)
    grace_s = 3600 * older_than
    if dry_run:
        found = garbage.look(grace_s)
    else:
        with bar("gc", quiet=json) as report:
            found = garbage.collect(report, grace_s)
    if json:
        print_json(msgspec.to_builtins(found))
        return
    console.print(f"{'would go' if dry_run else 'gone'}: {_words(found)}")


def _words(found: Collected) -> str:
    return (
        f"{size(found.bytes)} in {found.blobs:,} blobs, {found.commits:,} commits, "
        f"{found.repositories:,} deleted repositories, {found.pages:,} pages of lists of files, "
        f"{found.checkouts:,} checkouts"
    )
