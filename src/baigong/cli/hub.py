"""`baigong hub`: repositories and their owners, as an operator sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from baigong.app import Platform
from baigong.cli.screen import Json, age, console, print_json, size, verb
from baigong.config import Settings
from baigong.errors import NotFound
from baigong.hub.hub import Hub
from baigong.hub.manifest import Files
from baigong.hub.names import KINDS, Kind
from baigong.hub.repositories import Repository
from baigong.hub.safety.findings import Finding
from baigong.model.tensors import Broken, Layout, read_layout

app = verb(no_args_is_help=True, help="Repositories of the hub, and who owns them.")
orgs = verb(no_args_is_help=True, help="Organisations and their members.")
app.add_typer(orgs, name="orgs")

_FACTS = ("task", "library", "license", "architecture", "base", "languages", "datasets", "tags")
Name = Annotated[str, typer.Argument(help="owner/name")]
Of = Annotated[
    str, typer.Option("--kind", help="model, dataset or recipe, where several have the name")
]


def _hub() -> Hub:
    return Platform.open(Settings.load()).hub


def _find(hub: Hub, name: str, kind: str) -> Repository:
    for each in _kinds(kind):
        try:
            return hub.repositories.find(each, name)
        except NotFound:
            continue
    known = [one.name for one in hub.repositories.all()]
    raise NotFound.among(kind or "repository", name, known)


def _kinds(kind: str) -> list[Kind]:
    return [each for each in KINDS if kind in {"", each}]


@app.command("list")
def list_(kind: Of = "", json: Json = False) -> None:
    """List repositories, newest first."""
    hub = _hub()
    found = [one for one in hub.repositories.all() if one.kind in _kinds(kind)]
    if json:
        print_json([_facts(one) for one in found])
        return
    table = Table("kind", "name", "size", "parameters", "changed", "", box=None, pad_edge=False)
    for one in found:
        about, marks = one.about, ["private"] if one.private else []
        marks += ["allows code"] if one.settings.allows_code else []
        numbers = f"{about.parameters:,}" if about.parameters else ""
        table.add_row(
            one.kind, one.name, size(about.size), numbers, age(one.modified_at), ", ".join(marks)
        )
    console.print(table)


@app.command()
def show(name: Name, kind: Of = "", json: Json = False) -> None:
    """Show what a repository says of itself, its files and tensors, and what was found in them."""
    hub = _hub()
    one = _find(hub, name, kind)
    files = hub.commits.files(hub.commits.resolve(one.id))
    here = {path: entry for path, entry in files.items() if hub.blobs.has(entry.digest)}
    found = hub.checks.look(here)
    layouts = dict(_layouts(hub, here))
    if json:
        print_json({**_facts(one), "files": [*_listed(files, found, layouts)]})
        return
    console.print(f"[bold]{one.name}[/]  {one.kind}, {'private' if one.private else 'public'}")
    for field in _FACTS:
        if value := getattr(one.about, field):
            console.print(f"{field:<12} {', '.join(value) if isinstance(value, list) else value}")
    if one.about.parameters:
        dtypes = ", ".join(f"{count:,} {dtype}" for dtype, count in one.about.dtypes.items())
        console.print(f"{'parameters':<12} {one.about.parameters:,} ({dtypes})")
    table = Table("file", "size", "found", box=None, pad_edge=False)
    for path, entry in files.items():
        table.add_row(path, size(entry.size), "\n".join(_said(f) for f in found.get(path, [])))
    console.print(table)
    for path, layout in layouts.items():
        tensors = Table(f"tensors of {path}", "shape", "dtype", box=None, pad_edge=False)
        for tensor, head in layout.tensors.items():
            tensors.add_row(tensor, " × ".join(map(str, head.shape)) or "1", head.dtype)
        console.print(tensors)


@app.command("allow-code")
def allow_code(
    name: Name,
    kind: Of = "",
    refuse: Annotated[bool, typer.Option("--no", help="refuse it from now on")] = False,
) -> None:
    """Let pickles and code into a repository: whoever loads it runs them."""
    hub = _hub()
    one = _find(hub, name, kind)
    settings = msgspec.structs.replace(one.settings, allows_code=not refuse)
    hub.repositories.change(one, settings=settings)
    says = "refuses" if refuse else "may hold"
    console.print(f"The {one.kind} {one.name} {says} pickles and code.")


@app.command()
def private(name: Name, kind: Of = "") -> None:
    """Show a repository to its owner alone."""
    _turn(name, kind, private=True)


@app.command()
def public(name: Name, kind: Of = "") -> None:
    """Show a repository to everybody who may call."""
    _turn(name, kind, private=False)


def _turn(name: str, kind: str, *, private: bool) -> None:
    hub = _hub()
    one = _find(hub, name, kind)
    hub.repositories.change(one, private=private)
    console.print(f"The {one.kind} {one.name} is {'private' if private else 'public'}.")


@app.command()
def delete(name: Name, kind: Of = "") -> None:
    """Delete a repository. Its bytes go with `baigong gc`, a day later."""
    hub = _hub()
    one = _find(hub, name, kind)
    hub.repositories.delete(one)
    console.print(f"The {one.kind} {one.name} is deleted.")


@orgs.command("list")
def organisations(json: Json = False) -> None:
    """List organisations and their members."""
    found = [(name, users) for name, kind, users in _hub().namespaces.all() if kind != "user"]
    if json:
        print_json([{"name": name, "members": users} for name, users in found])
        return
    table = Table("organisation", "members", box=None, pad_edge=False)
    for name, users in found:
        table.add_row(name, ", ".join(users))
    console.print(table)


@orgs.command()
def create(name: Annotated[str, typer.Argument(help="what it is called")]) -> None:
    """Make an organisation."""
    _hub().namespaces.create_organisation(name)
    console.print(f"There is an organisation {name} now.")


@orgs.command()
def add(
    organisation: Annotated[str, typer.Argument(help="which one")],
    user: Annotated[str, typer.Argument(help="who becomes a member")],
) -> None:
    """Make a user a member of an organisation, who may write to its repositories."""
    _hub().namespaces.join(organisation, user)
    console.print(f"{user} is a member of {organisation}.")


def _facts(one: Repository) -> dict[str, Any]:
    fields = msgspec.to_builtins(one)
    return {name: value for name, value in fields.items() if name != "id"}


def _layouts(hub: Hub, files: Files) -> Iterator[tuple[str, Layout]]:
    for path, entry in files.items():
        if path.endswith(".safetensors"):
            try:
                yield path, read_layout(lambda a, b: hub.blobs.read(entry.digest, a, b), entry.size)  # noqa: B023
            except Broken:
                continue  # which is among what was found


def _listed(
    files: Files, found: dict[str, list[Finding]], layouts: dict[str, Layout]
) -> Iterator[dict[str, Any]]:
    for path, entry in files.items():
        tensors = layouts[path].tensors if path in layouts else {}
        yield {
            "path": path,
            "size": entry.size,
            "sha256": entry.digest,
            "found": msgspec.to_builtins(found.get(path, [])),
            "tensors": {
                name: {"shape": head.shape, "dtype": head.dtype} for name, head in tensors.items()
            },
        }


def _said(finding: Finding) -> str:
    return f"line {finding.line} {finding.said}" if finding.line else finding.said
