"""What checkpoints, events and the loss curve cost a training, as a share of its time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from baigong.hub.hub import FOUNDATION
from baigong.tuning.examples.rows import batches
from baigong.tuning.spec import TuneSpec
from baigong.tuning.trainer import Run
from baigong.tuning.tune import lay_job
from baigong.tuning.workers import Workers
from bench.record import row
from bench.tuning.rows import rows

STEPS = 120


def measure() -> Iterator[dict[str, Any]]:
    """One run with the default interval, its own clock round what is not training."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        lay_job(rows(400), FOUNDATION / "sapling", TuneSpec(), work)
        run = Run(work, Workers())
        order = batches([e.length for e in run.rows], run.settings.batch_size, 0)
        spent = {"points": 0.0, "checkpoint": 0.0}
        began = time.perf_counter()
        for indices in islice(order, STEPS):
            run.step([run.rows[index] for index in indices])
            if run.is_point:
                spent["points"] += _timed(run.point)
        whole = time.perf_counter() - began
        spent["checkpoint"] = _timed(run.checkpoint)
    share = spent["points"] / whole + spent["checkpoint"] / run.job.checkpoint_s
    yield row("checkpoints, events and curve", 100 * share, "%", goal=3, is_less_better=True)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
