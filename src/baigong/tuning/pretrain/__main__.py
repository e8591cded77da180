"""`python -m baigong.tuning.pretrain RECIPE --data DATA --out OUT [--minutes N]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from baigong.errors import BaigongError
from baigong.tuning.pretrain.command import pretrain_command


def main() -> int:
    parser = argparse.ArgumentParser(prog="baigong pretrain", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder sources are below")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and model go here")
    parser.add_argument("--minutes", type=float, help="overrides the recipe's budget")
    arguments = parser.parse_args()
    try:
        is_done = pretrain_command(
            arguments.recipe, arguments.data, arguments.out, arguments.minutes
        )
    except BaigongError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if is_done else 3


if __name__ == "__main__":
    raise SystemExit(main())
