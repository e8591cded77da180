"""`python -m bench.tuning [--data FOLDER]`: measure, show a table, and merge it into the results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.record import keep, table
from bench.tuning import banking, durable, estimates, speed

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch", "transformers", "peft")


def main() -> None:
    options = _options()
    home = options.home.resolve()
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "speed": lambda: speed.measure(home),
        "estimates": lambda: estimates.measure(home),
        "durable": durable.measure,
        "banking": lambda: banking.measure(options.data),
    }
    rows = []
    for name, part in parts.items():
        if (options.only and name not in options.only) or (
            name == "banking" and options.data is None
        ):
            continue
        for one in part():
            rows.append(one)
            keep("tuning", [one], LIBRARIES)  # a run that is cut short keeps these
            print(f"{name}: {one['work']}: {one['ours']} {one['unit']}", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.tuning", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of open data sets, for Banking77")
    names = ["speed", "estimates", "durable", "banking"]
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument(
        "--home",
        type=Path,
        default=os.environ.get("BENCH_HOME", ROOT / ".bench"),
        help="folder for peers' environments (BENCH_HOME)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
