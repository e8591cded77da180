"""What `baigong pull` does where every file is wanted, and a bundle of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baigong.app import Platform
from baigong.cli.screen import bar, console, print_json, size
from baigong.hub.access import PLATFORM
from baigong.hub.bundle import pack, signer_of
from baigong.hub.commits import Commit
from baigong.hub.mirror.sources import HuggingFace, ModelScope
from baigong.hub.names import Kind
from baigong.hub.pull import address
from baigong.hub.repositories import Repository
from baigong.types import Report

Whole = tuple[Repository, Commit]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Which repositories are meant, and where; `again` asks there for what is here too."""

    kind: Kind
    endpoint: str
    revision: str
    again: bool


def bring_whole(
    platform: Platform, sources: Sequence[str], elsewhere: Elsewhere, *, quiet: bool
) -> list[Whole]:
    """Repositories with all their files, under a bar for each."""
    found = []
    for source in sources:
        with bar(source, quiet=quiet) as report:
            found.append(_bring(platform, source, elsewhere, report))
    return found


def _bring(platform: Platform, source: str, elsewhere: Elsewhere, report: Report) -> Whole:
    scheme, name, _ = address(source)
    hub, kind, at = platform.hub, elsewhere.kind, elsewhere.revision
    if scheme or elsewhere.again or name not in hub.names(kind):
        made = ModelScope if scheme == "modelscope" else HuggingFace
        mirror = hub.mirror_of([made(elsewhere.endpoint) if elsewhere.endpoint else made()])
        mirror.complete(mirror.seen(kind, name, PLATFORM, at), report, at)
    one = hub.repositories.find(kind, name)
    return one, hub.commits.resolve(one.id, at)


def write_bundle(platform: Platform, found: list[Whole], into: Path, json: bool) -> None:
    """One file of them, and how to open it there."""
    with bar(into.name, quiet=json) as report:
        contents = pack(platform.hub, platform.secret, found, into, report)
    signer = signer_of(platform.secret)
    if json:
        print_json({"bundle": str(into), "signer": signer, "bytes": contents.size})
        return
    names = ", ".join(one.name for one in contents.repositories)
    console.print(
        f"{into}  {size(into.stat().st_size)}: {names}\n"
        f"There: baigong import {into.name} --trust {signer}",
        soft_wrap=True,  # what is copied stays one line
    )


def tell(found: list[Whole], json: bool) -> None:
    """What is here whole now."""
    if json:
        print_json([{"name": one.name, "commit": commit.id} for one, commit in found])
        return
    for one, commit in found:
        console.print(f"{one.name}  whole, at commit {commit.id[:12]}")
