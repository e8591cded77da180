"""`baigong releases`: what was built, what its gate said, and which one is live."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.report import print_report
from baigong.cli.screen import Json, age, console, print_json, verb
from baigong.config import Settings
from baigong.industry.releases import Release

app = verb()


@app.command()
def releases(
    name: Annotated[str, typer.Argument(help="a name, or name@number to see its table")] = "",
    json: Json = False,
) -> None:
    """List releases, newest first, or show one release's table and lineage."""
    store = Platform.open(Settings.load()).releases
    if "@" in name:
        release = store.get(name)
        print_json(_public(release)) if json else _show(release)
        return
    found, live = store.history(name or None), store.live()
    if json:
        print_json([{**_public(r), "live": live.get(r.name) == r.number} for r in found])
        return
    if not found:
        console.print(
            "No release yet. Build one: baigong build recipes/customer-service/recipe.yaml"
        )
        return
    table = Table("", "release", "gate", "task", "base", "built", box=None, pad_edge=False)
    for release in found:
        mark = "[green]live[/]" if live.get(release.name) == release.number else ""
        gate = "[green]passed[/]" if release.passed else "[red]refused[/]"
        base = release.content.base.partition("@")[0]
        table.add_row(mark, release.ref, gate, release.content.task, base, age(release.created_at))
    console.print(table)


def _public(release: Release) -> dict[str, object]:
    return {
        "name": release.name,
        "number": release.number,
        "passed": release.passed,
        "verdict": release.verdict,
        "report": release.report,
        "content": msgspec.to_builtins(release.content),
        "digest": release.digest,
        "signature": release.signature,
        "created_at": release.created_at,
    }


def _show(release: Release) -> None:
    content = release.content
    console.print(f"[bold]{release.ref}[/]  {content.title.get('en', '')}")
    if about := content.description.get("en"):
        console.print(about)
    print_report(release.report, release.verdict)
    lines = {
        "base": _short(content.base),
        "adapter": _short(content.adapter or "none"),
        "knowledge": f"{content.knowledge}@{content.knowledge_version}"
        if content.knowledge
        else "",
        "recipe": content.lineage.get("recipe", "")[:12],
        "dataset": _short(content.lineage.get("dataset", "")),
        "digest": f"{release.digest[:12]}, signed (Ed25519)",
    }
    for name, value in lines.items():
        if value:
            console.print(f"{name:<10} {value}")
    console.print("[dim]--json prints all of it, digests whole.[/]")


def _short(ref: str) -> str:
    name, _, revision = ref.partition("@")
    return f"{name}@{revision[:12]}" if revision else name
