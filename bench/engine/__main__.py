"""`python -m bench.engine`: measure, show tables, and merge the rows into bench/results/engine.json."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from bench.engine.compare import compare
from bench.engine.limits import BYTES
from bench.engine.own import OWN
from bench.engine.peers import OURS, PEERS, Peer
from bench.engine.process import ROOT
from bench.engine.report import Row, keep, table
from bench.engine.shapes import SHAPES
from bench.engine.stage import Stage

RESULTS = ROOT / "bench" / "results" / "engine.json"


def main() -> None:
    """Measure each shape with each peer; what is not asked for keeps its earlier rows."""
    options = _options()
    machine = _machine(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print_json(data=machine)
    for shape in SHAPES:
        if options.shape and shape.name not in options.shape:
            continue
        shape = dataclasses.replace(shape, new=options.new or shape.new)
        runs = options.runs or shape.runs
        stage = Stage(shape, options.home.resolve(), options.threads, runs, machine["limits"])
        for peer in (OURS, *PEERS):
            if options.peer and peer.name not in options.peer:
                continue
            rows = []
            for row in _rows(stage, peer, options):
                rows.append(row)
                keep(RESULTS, [row], machine, stage.versions)  # a run that is cut short keeps these
            if rows:
                console.print(table(rows))


def _rows(stage: Stage, peer: Peer, options: argparse.Namespace) -> Iterator[Row]:
    if peer is not OURS:
        yield from compare(stage, peer, options.only, options.ours)
        return
    for name, measure in OWN.items():
        if options.ours != ["none"] and options.only in f"{stage.shape.name}: {name}":
            yield from measure(stage)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.engine", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="works with this in their name")
    parser.add_argument("--shape", action="append", choices=[shape.name for shape in SHAPES])
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in (OURS, *PEERS)])
    parser.add_argument("--ours", action="append", choices=[*BYTES, "none"], help="our weights")
    parser.add_argument("--runs", type=int, help="counted runs of each side")
    parser.add_argument("--new", type=int, help="new tokens of each decode request")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False))
    parser.add_argument(
        "--home",
        type=Path,
        default=os.environ.get("BENCH_HOME", ROOT / ".bench"),
        help="folder for models, peers' environments and builds (BENCH_HOME)",
    )
    return parser.parse_args()


def _machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on; a load above 0 means company."""
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "bench.engine.limits", str(threads)]
    limits = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "threads": threads,
        "load_before": round(load, 1),
        "limits": json.loads(limits.stdout),
    }


if __name__ == "__main__":
    main()
