"""Ten steps of the real training, to say what it will take: in a folder that is thrown away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from baigong.compute import run
from baigong.tuning.plan import TunePlan
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import lay_job, trainer_command, trainer_environment
from baigong.types import Row

STEPS = 10
LONGEST_STEPS = 2  # of those, on the longest rows; they also warm up
_REHEARSAL = "baigong.tuning.rehearsal"


class Probe(msgspec.Struct, frozen=True):
    """What ten steps took.

    Attributes:
        start_seconds: until the first step could begin.
        step_seconds: of a step on rows as they come.
        tokens_per_second: there, padding left out.
        memory_bytes: the most that was held, on the longest rows; of the GPU where there is one.
        tokens_at_once: padded ones that went through the model together, as memory allows.
    """

    start_seconds: float
    step_seconds: float
    tokens_per_second: float
    memory_bytes: int
    tokens_at_once: int

    def seconds(self, plan: TunePlan) -> float:
        """About how long the planned tuning takes, evaluations (a third of a step's work) included."""
        settings = plan.settings
        validation = plan.validation_rows * plan.tokens / plan.rows
        tokens = plan.tokens * settings.epochs + validation * settings.evaluations / 3
        return self.start_seconds + tokens / self.tokens_per_second


async def probe(rows: Sequence[Row], base: Path, spec: TuneSpec) -> Probe:
    """Try the tuning that `tune` would do.

    Raises:
        As `tune`.
    """
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="baigong-probe-") as folder:
        job = await asyncio.to_thread(lay_job, rows, base, spec, Path(folder))
        command = trainer_command(_REHEARSAL, Path(folder), job.processes)
        env = trainer_environment()
        await run(command, name="The trial of ten steps", on_line=said.append, env=env)
    return msgspec.json.decode(said[-1], type=Probe)
