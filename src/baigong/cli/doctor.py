"""`baigong doctor`: is this machine and installation well, and what to type if not."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psutil
import typer

from baigong.app import Platform
from baigong.cli.screen import Json, console, print_json, size, verb
from baigong.compute.memory import available
from baigong.config import Settings
from baigong.errors import BaigongError, DataProblems
from baigong.inference.upstream.pool import Upstreams
from baigong.inference.upstream.settings import read_upstreams

app = verb()

NEEDED_DISK = 2e9  # bytes: a base, a few checkpoints of its tuning, an index
NEEDED_MEMORY = 2e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `mend` says what to do where it is not well."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


@app.command()
def doctor(json: Json = False) -> None:
    """Look at Python, memory, disk, the database, the base model, the port and upstreams."""
    settings = Settings.load()
    checks: list[Callable[[Settings], Finding]] = [
        _python,
        _cpu,
        _memory,
        _disk,
        _home,
        _base,
        _port,
    ]
    findings = [*(check(settings) for check in checks), *_upstreams(settings)]
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok[/]  " if finding.ok else "[red]mend[/]"
            console.print(f"{mark} {finding.name:<10} {finding.detail}")
            if not finding.ok:
                console.print(f"                {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _python(_settings: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    torch = importlib.metadata.version("torch")
    return Finding(
        "python", sys.version_info >= (3, 11), f"{version}, torch {torch}", "Install Python 3.11."
    )


def _cpu(_settings: Settings) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cpu", True, f"{psutil.cpu_count(logical=False)} cores, {usable} usable here")


def _memory(_settings: Settings) -> Finding:
    free = available()
    return Finding(
        "memory", free > NEEDED_MEMORY, f"{size(free)} free", "Close something: 2 GB are needed."
    )


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk",
        free > NEEDED_DISK,
        f"{size(free)} free at {settings.home}",
        "Free some space, or set BAIGONG_HOME to a roomier disk.",
    )


def _home(settings: Settings) -> Finding:
    try:
        platform = Platform.open(settings)
    except (BaigongError, OSError) as error:
        mend = _mend(error, "Set BAIGONG_HOME to a folder you can write to.")
        return Finding("home", False, str(error), mend)
    live = platform.releases.live()
    names = ", ".join(f"{name}@{number}" for name, number in live.items()) or "nothing live yet"
    return Finding("home", True, f"{settings.home}: {names}")


def _base(settings: Settings) -> Finding:
    try:
        sapling = Platform.open(settings).hub.get("model", "sapling")
    except (BaigongError, OSError) as error:
        mend = _mend(error, "Reinstall: `pip install --force-reinstall baigong`.")
        return Finding("base", False, str(error), mend)
    return Finding("base", True, f"{sapling.ref}, {size(sapling.size_bytes)}")


def _mend(error: Exception, otherwise: str) -> str:
    """What to do where nothing opens: a mistake in upstreams.yaml has its own remedy."""
    return error.hint if isinstance(error, DataProblems) else otherwise


def _upstreams(settings: Settings) -> list[Finding]:
    """Each server beyond this process, asked now."""
    try:
        upstreams = Upstreams(read_upstreams(settings.upstreams_file))
    except BaigongError as error:
        return [Finding("upstreams", False, error.message, error.hint)]

    async def ask() -> None:
        await upstreams.probe()
        await upstreams.close()

    asyncio.run(ask())
    return [
        Finding(
            "upstream",
            one.is_well,
            f"{one.name} ({one.kind}): {', '.join(one.models) if one.is_well else one.reason}",
            "Start it, or mend its entry in upstreams.yaml.",
        )
        for one in upstreams.status()
    ]


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    with socket.socket() as probe:
        taken = probe.connect_ex((settings.host, settings.port)) == 0
    return Finding(
        "port", True, f"{where} answers already (a server runs?)" if taken else f"{where} is free"
    )
