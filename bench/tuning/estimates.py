"""What the plan says of time and memory, beside what the same tuning takes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from baigong.hub.hub import FOUNDATION
from baigong.tuning.job import RESULT_FILE, Result
from baigong.tuning.plan import plan_tuning
from baigong.tuning.probe import probe
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import tune
from bench.engine.shapes import SHAPES
from bench.record import row
from bench.tuning.rows import rows

# Shape -> (rows, sentences of an answer, epochs): a minute or two of training each.
WORKS = {"sapling": (400, 3.0, 4.0), "25m": (160, 1.0, 2.0), "qwen3-0.6b": (64, 0.6, 1.0)}


def measure(home: Path) -> Iterator[dict[str, Any]]:
    """The error of each estimate, in hundredths of what was measured."""
    for shape, (count, sentences, epochs) in WORKS.items():
        base = FOUNDATION / shape
        if shape != "sapling":
            base = next(one for one in SHAPES if one.name == shape).model(home)
        listed, spec = rows(count, sentences=sentences), TuneSpec(rank=16, epochs=epochs)
        plan = plan_tuning(listed, base, spec)
        tried = asyncio.run(probe(listed, base, spec))
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder, "work")
            result = asyncio.run(tune(listed, base, spec, work))
            ended = msgspec.json.decode((work / RESULT_FILE).read_bytes(), type=Result)
        # The result's clock begins with the first step.
        said = tried.seconds(plan) - tried.start_seconds
        yield _error(f"time by ten steps, {shape}", said, result.seconds, "s", 20)
        gib = ended.memory_bytes / 2**30
        yield _error(f"memory by headers, {shape}", plan.memory_bytes / 2**30, gib, "GiB", 10)


def _error(work: str, said: float, took: float, unit: str, goal: float) -> dict[str, Any]:
    error = 100 * abs(said / took - 1)
    note = f"said {said:.2f} {unit}, took {took:.2f} {unit}"
    return row(f"{work}: error", error, "%", goal=goal, is_less_better=True, note=note)
