"""What the plan says of time and memory, beside what the same tuning takes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from baigong.hub.hub import FOUNDATION
from baigong.tuning.job import RESULT_FILE, Result
from baigong.tuning.plan import plan_tuning
from baigong.tuning.probe import probe
from baigong.tuning.spec import Method, TuneSpec
from baigong.tuning.tune import tune
from bench.engine.shapes import SHAPES
from bench.record import row
from bench.tuning.rows import rows


class Work(NamedTuple):
    """A tuning of some `rows`, with answers of so many `sentences`; of one, time is asked for too."""

    shape: str
    method: Method
    rows: int
    sentences: float
    epochs: float
    is_timed: bool = False


WORKS = (
    Work("sapling", "lora", 400, 3.0, 4.0, is_timed=True),
    Work("sapling", "lora", 400, 0.5, 2.0),
    Work("sapling", "full", 400, 3.0, 2.0),
    Work("sapling", "full", 400, 0.5, 2.0),
    Work("25m", "lora", 160, 1.0, 2.0),
    Work("25m", "lora", 160, 0.3, 2.0),
    Work("25m", "full", 160, 1.0, 2.0),
    Work("25m", "full", 160, 0.3, 2.0),
    Work("qwen3-0.6b", "lora", 24, 0.2, 1.0),
)


def measure(home: Path) -> Iterator[dict[str, Any]]:
    """The error of each estimate, in hundredths of what was measured."""
    for work in WORKS:
        base = FOUNDATION / work.shape
        if work.shape != "sapling":
            base = next(one for one in SHAPES if one.name == work.shape).model(home)
        listed = rows(work.rows, sentences=work.sentences)
        spec = TuneSpec(method=work.method, rank=16, epochs=work.epochs)
        plan = plan_tuning(listed, base, spec)
        tried = asyncio.run(probe(listed, base, spec)) if work.is_timed else None
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "work")
            result = asyncio.run(tune(listed, base, spec, place))
            ended = msgspec.json.decode((place / RESULT_FILE).read_bytes(), type=Result)
        if tried is not None:
            # The result's clock begins with the first step.
            said = tried.seconds(plan) - tried.start_seconds
            yield _error(f"time by ten steps, {work.shape}", said, result.seconds, "s", 20)
        gib = ended.memory_bytes / 2**30
        what = f"{work.shape}, {work.method}, {plan.tokens // plan.rows} tokens a row"
        yield _error(f"memory by headers, {what}", plan.memory_bytes / 2**30, gib, "GiB", 10)


def _error(work: str, said: float, took: float, unit: str, goal: float) -> dict[str, Any]:
    error = 100 * abs(said / took - 1)
    note = f"said {said:.2f} {unit}, took {took:.2f} {unit}"
    return row(f"{work}: error", error, "%", goal=goal, is_less_better=True, note=note)
