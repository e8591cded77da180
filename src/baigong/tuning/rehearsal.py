"""The process behind `probe`: `python -m baigong.tuning.rehearsal FOLDER` makes ten steps and tells what they took."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

import msgspec

from baigong.tuning.examples.rows import batches
from baigong.tuning.probe import LONGEST_STEPS, STEPS, Probe
from baigong.tuning.trainer import Run
from baigong.tuning.workers import Workers


def rehearse(folder: Path, workers: Workers) -> Probe:
    """The longest rows first, for what memory they need, then rows as they come, for the time."""
    started = time.monotonic()
    run = Run(folder, workers)
    size = run.settings.batch_size
    longest = sorted(run.rows, key=lambda example: example.length)[-size:]
    first = time.monotonic()
    for _ in range(LONGEST_STEPS):
        run.step(longest)
    order = batches([example.length for example in run.rows], size, run.settings.seed)
    tokens, begun = run.state.tokens, time.monotonic()
    for indices in islice(order, STEPS - LONGEST_STEPS):
        run.step([run.rows[index] for index in indices])
    spent = max(1e-9, time.monotonic() - begun)
    return Probe(
        start_seconds=first - started,
        step_seconds=spent / (STEPS - LONGEST_STEPS),
        tokens_per_second=(run.state.tokens - tokens) / spent,
        memory_bytes=run.memory,
        tokens_at_once=run.state.micro,
    )


def main(arguments: list[str]) -> None:
    workers = Workers()
    try:
        found = rehearse(Path(arguments[0]), workers)
        if workers.is_first:
            sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    finally:
        workers.end()


if __name__ == "__main__":
    main(sys.argv[1:])
