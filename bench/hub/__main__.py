"""`python -m bench.hub`: measure, show a table, and merge it into the results."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from bench.hub import catalogue, transfer
from bench.record import keep, table

PARTS = {"catalogue": catalogue.measure, "transfer": transfer.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.hub", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PARTS))
    options = parser.parse_args()
    rows = []
    for name in options.only or PARTS:
        for one in PARTS[name]():
            rows.append(one)
            keep("hub", [one], ("huggingface-hub", "hf-xet"))  # a run that is cut short keeps these
            print(f"{name}: {one['work']}: {one['ours']} {one['unit']}", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 140).print(table(rows))


if __name__ == "__main__":
    main()
