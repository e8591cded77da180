"""Our training loop by the step: `python -m bench.tuning.ours FOLDER STEPS WARM`; prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import islice
from pathlib import Path

from baigong.tuning.examples.rows import batches
from baigong.tuning.trainer import Run
from baigong.tuning.workers import Workers


def main(folder: str, steps: str, warm: str) -> None:
    """The first `warm` steps are not counted, as for the peers."""
    run = Run(Path(folder), Workers())
    lengths = [example.length for example in run.rows]
    order = batches(lengths, run.settings.batch_size, run.settings.seed)
    began = (0.0, 0.0, 0)
    for number, indices in enumerate(islice(order, int(steps))):
        if number == int(warm):
            began = _now(run)
        run.step([run.rows[index] for index in indices])
    ended = _now(run)
    seconds, cpu_seconds, tokens = (b - a for a, b in zip(began, ended, strict=True))
    print(
        json.dumps({
            "tokens": tokens,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "memory_bytes": run.memory,
            "batch": run.settings.batch_size,
            "loss": sum(run.state.losses) / len(run.state.losses),
        })
    )


def _now(run: Run) -> tuple[float, float, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, run.state.tokens


if __name__ == "__main__":
    main(*sys.argv[1:])
