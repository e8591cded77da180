"""`baigong import`: what `baigong pull --into` packed, on a machine without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.screen import Json, bar, console, print_json, size, verb
from baigong.config import Settings
from baigong.errors import NotFound
from baigong.hub.bundle import signer_of, unpack

app = verb()


@app.command("import")
def import_(
    bundle: Annotated[Path, typer.Argument(help="the file")],
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="a signer's key, as `pull --into` showed it; this machine's own is trusted"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Bring repositories out of a bundle: every byte is checked against its list, and that against
    its signer."""
    if not bundle.is_file():
        raise NotFound(f"There is no file {bundle}.", hint="Give the path of a bundle.")
    platform = Platform.open(Settings.load())
    trusted = [signer_of(platform.secret), *(trust or [])]
    with bar(bundle.name, quiet=json) as report:
        contents = unpack(platform.hub, bundle, trusted, report)
    if json:
        print_json([
            {"kind": one.kind, "name": one.name, "commit": one.commit}
            for one in contents.repositories
        ])
        return
    table = Table("kind", "name", "commit", "files", "size", box=None, pad_edge=False)
    for one in contents.repositories:
        total = sum(entry.size for entry in one.files.values())
        table.add_row(one.kind, one.name, one.commit[:12], str(len(one.files)), size(total))
    console.print(table)
