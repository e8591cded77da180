"""`baigong keys`: who may call."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.screen import Json, age, console, print_json, verb
from baigong.config import Settings
from baigong.gateway.keys import Keys

app = verb(no_args_is_help=True, help="Make, list and revoke keys.")


def _keys() -> Keys:
    platform = Platform.open(Settings.load())
    return Keys(platform.database, platform.secret)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="whose key it is, e.g. web-shop")], json: Json = False
) -> None:
    """Make a key. It is shown once and kept only as a digest."""
    key_id, key = _keys().create(name)
    if json:
        print_json({"id": key_id, "key": key})
        return
    console.print(f"{key}\n[dim]Shown once. Callers send it as `Authorization: Bearer KEY`.[/]")


@app.command("list")
def list_(json: Json = False) -> None:
    """List keys."""
    found = _keys().all()
    if json:
        print_json([
            {"id": k.id, "name": k.name, "created_at": k.created_at, "revoked_at": k.revoked_at}
            for k in found
        ])
        return
    if not found:
        console.print("No key yet: whoever reaches the loopback address may call.")
        return
    table = Table("id", "name", "made", "", box=None, pad_edge=False)
    for key in found:
        table.add_row(key.id, key.name, age(key.created_at), "revoked" if key.revoked_at else "")
    console.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the key's id")]) -> None:
    """Revoke a key: running servers refuse it within a second."""
    _keys().revoke(key_id)
    console.print(f"{key_id} is revoked.")
