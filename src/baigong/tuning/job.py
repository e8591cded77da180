"""What the platform and its training process say to each other: a job file, lines, exit codes."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import msgspec

from baigong.tuning.curve import Point
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.objectives import OBJECTIVES
from baigong.tuning.spec import Goal, Settings

JOB_FILE = "job.json"
ROWS_FILE = "rows.msgpack"
CHECKPOINT_FILE = "checkpoint.safetensors"
CHECKPOINTS_FOLDER = "checkpoints"  # one folder for each evaluation whose adapter is kept
POINT_FILE = "point.json"  # beside such an adapter: how the run stood
RESULT_FILE = "result.json"  # written last: a folder that has it is finished

# Exit codes by which the trainer names what the platform can explain.
DISK_FULL = errno.ENOSPC
DIVERGED = errno.EDOM
STOPPED = errno.EINTR
UNSUITED = errno.EINVAL


class TuneJob(msgspec.Struct, frozen=True):
    """One run. `digest` stands for the rows, the base and the settings together."""

    digest: str
    base: str
    settings: Settings
    targets: list[str]
    tokens: int
    max_seconds: float | None
    checkpoint_s: float
    threads: int
    processes: int = 1
    checkpoints: int = 0
    teacher: str = ""


class Line(msgspec.Struct, frozen=True):
    """One line of the trainer's standard output. `rate` is tokens per second over the last lines.

    `memory_bytes` is the most that was held so far, `checkpoint` the step of the last one that was
    kept, `at_once` the tokens that go through the model together since memory ran out.
    """

    point: Point
    steps: int
    total_tokens: int
    rate: float
    seconds_left: float
    memory_bytes: int = 0
    checkpoint: int = 0
    at_once: int = 0


class Result(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        folder: name of the adapter's (or whole model's) folder inside the work folder.
        steps: done; fewer than planned when the time limit shortened the run.
        tokens: seen in training, padding left out.
        seconds: of training, interruptions left out.
        loss: of the last steps, nats per answer token.
        validation_loss: of the weights that were kept.
        validation_accuracy: likewise; see `curve.Point`.
        best_step: the step whose weights were kept.
        memory_bytes: the most that the process held; of the GPU where there is one.
    """

    folder: str
    steps: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    best_step: int
    memory_bytes: int = 0


def read_job(folder: Path) -> TuneJob:
    return msgspec.json.decode((folder / JOB_FILE).read_bytes(), type=TuneJob)


def read_prepared(folder: Path, objective: Goal) -> Prepared[Any]:
    """The examples, as the objective makes them."""
    example = OBJECTIVES[objective].example
    data = (folder / ROWS_FILE).read_bytes()
    return msgspec.msgpack.decode(data, type=Prepared[example])  # type: ignore[valid-type]
