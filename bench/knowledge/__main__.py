"""`python -m bench.knowledge --data FOLDER`: measure, show a table, and merge it into the results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.knowledge import growth, ingest, living, plot, quality, queries
from bench.knowledge.stage import keep
from bench.record import table

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    options = _options()
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "quality": lambda: quality.measure(options.data),
        "ingest": lambda: ingest.measure(options.data, options.home.resolve()),
        "queries": lambda: queries.measure(options.data),
        "living": living.measure,
        "growth": lambda: growth.measure(options.data),
    }
    rows = []
    for name, part in parts.items():
        if options.only and name not in options.only:
            continue
        for one in part():
            rows.append(one)
            keep([one])  # a run that is cut short keeps these
            print(f"{name}: {one['work']}: {one['ours']} {one['unit']}", file=sys.stderr)
    plot.write()
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.knowledge", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of open data sets")
    parser.add_argument(
        "--only", action="append", choices=["quality", "ingest", "queries", "living", "growth"]
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=os.environ.get("BENCH_HOME", ROOT / ".bench"),
        help="folder for peers' environments (BENCH_HOME)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
