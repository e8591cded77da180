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
    name: Annotated[str, typer.Argument(help="what it is for, e.g. web-shop")],
    user: Annotated[
        str, typer.Option(help="whose it is in the hub: it opens what is public or theirs alone")
    ] = "",
    json: Json = False,
) -> None:
    """Make a key. It is shown once and kept only as a digest."""
    key_id, key = _keys().create(name, user or None)
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
            {
                "id": k.id,
                "name": k.name,
                "user": k.user,
                "created_at": k.created_at,
                "revoked_at": k.revoked_at,
            }
            for k in found
        ])
        return
    if not found:
        console.print("No key yet: whoever reaches the loopback address may call.")
        return
    table = Table("id", "name", "user", "made", "", box=None, pad_edge=False)
    for key in found:
        state = "revoked" if key.revoked_at else ""
        table.add_row(key.id, key.name, key.user or "operator", age(key.created_at), state)
    console.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the key's id")]) -> None:
    """Revoke a key: running servers refuse it within a second."""
    _keys().revoke(key_id)
    console.print(f"{key_id} is revoked.")
