"""`baigong ingest`: documents into a knowledge base; run again, only what changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from baigong.app import Platform
from baigong.cli.live import LiveView
from baigong.cli.screen import Json, console, duration, errors, print_json, size, verb
from baigong.config import Settings
from baigong.errors import Problem
from baigong.industry.embedder import DEFAULT
from baigong.jobs import Job, Step
from baigong.knowledge.connectors.registry import open_source
from baigong.knowledge.ingest import Summary, ingest
from baigong.knowledge.records import KnowledgeVersion
from baigong.knowledge.reindex import prepare
from baigong.types import Report

app = verb()

_SHOWN = 20  # lines on the screen; --json has all of them
_STEP = "ingest"
_NAME = 150  # characters of a job's name


@app.command()
def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="folders, files, https:// pages, sites, sitemaps and feeds, s3:// and git+https://"
        ),
    ],
    into: Annotated[str, typer.Option(help="the knowledge base, made where there is none")],
    embedder: Annotated[
        str | None,
        typer.Option(help="vectors beside full text: builtin, none, or a model of the hub"),
    ] = None,
    only: Annotated[bool, typer.Option(help="take out what came from other sources")] = False,
    json: Json = False,
) -> None:
    """Read sources into a knowledge base. What did not change since the last time is not read."""
    asyncio.run(_ingest(Platform.open(Settings.load()), sources, into, embedder, only, json))


async def _ingest(
    platform: Platform, texts: list[str], into: str, embedder: str | None, only: bool, json: bool
) -> None:
    try:
        bases, settings = platform.knowledge, platform.settings
        embed = platform.serving.embedders.wanted(embedder or _present(platform, into))

        def read(report: Report) -> Summary:
            opened = [
                open_source(text, cache=settings.sources_folder, allow=settings.private_hosts)
                for text in texts
            ]
            prepare(bases, into, embed)
            return ingest(bases, into, opened, embed, report, only=only)

        async def work(_: Mapping[str, object], report: Report) -> dict[str, Any]:
            found.append(await asyncio.to_thread(read, report))
            return {"summary": _line(found[0])}

        found: list[Summary] = []
        with LiveView(errors if json else console) as view:
            await platform.jobs.run(_job(platform, texts, into), [Step(_STEP, work)], view)
        [summary], version = found, bases.get(into)
    finally:
        await platform.close()
    if json:
        print_json({"knowledge": version, **_fields(summary)})
    else:
        _show(summary, version)


def _job(platform: Platform, texts: Sequence[str], into: str) -> Job:
    """The work as `baigong jobs` shows it."""
    digest = hashlib.sha256("\n".join([into, *texts]).encode()).hexdigest()
    named = f"{into} from {', '.join(texts)}"
    name = named if len(named) <= _NAME else f"{named[:_NAME]} {digest[:16]}"
    return platform.jobs.open("ingest", name, digest, {"into": into, "sources": list(texts)})


def _present(platform: Platform, name: str) -> str:
    """The embedder that the knowledge base has; for a new one the built-in."""
    if name not in platform.knowledge.names():
        return DEFAULT
    return platform.knowledge.base(name).embedder or "none"


def _line(summary: Summary) -> str:
    return (
        f"{summary.added} new, {summary.changed} changed, {summary.unchanged} as before, "
        f"{summary.removed} removed"
    )


def _fields(summary: Summary) -> dict[str, object]:
    return {name: getattr(summary, name) for name in Summary.__slots__}


def _show(summary: Summary, version: KnowledgeVersion) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    rate = summary.bytes / max(1e-9, summary.seconds)
    table.add_row("knowledge", f"{version.ref}, embedder {version.embedder or 'none'}")
    table.add_row("documents", f"{version.documents:,}")
    table.add_row("pages", f"{version.pages:,}")
    table.add_row("passages", f"{version.chunks:,}")
    table.add_row(
        "read now", f"{size(summary.bytes)} in {duration(summary.seconds)}, {size(rate)}/s"
    )
    table.add_row("skipped", f"{len(summary.problems):,}")
    console.print(table)
    for line in _grouped(summary.problems)[:_SHOWN]:
        console.print(Text.assemble(("  ! ", "yellow"), line), soft_wrap=True)
    if version.documents:
        console.print(f'[dim]Ask it:[/] baigong ask {version.name} "…"')


def _grouped(problems: Sequence[Problem]) -> list[str]:
    """One line for each reason, the most frequent first: a folder may hold a thousand pictures."""
    files: dict[str, list[str]] = {}
    for problem in problems:
        files.setdefault(problem.message, []).append(problem.file)
    ordered = sorted(files.items(), key=lambda group: -len(group[1]))
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {message}"
        for message, names in ordered
    ]
