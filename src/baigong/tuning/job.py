"""What the platform and its training process say to each other: a job file, lines, exit codes."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec

from baigong.tuning.curve import Point
from baigong.tuning.rows import Prepared
from baigong.tuning.spec import Settings

JOB_FILE = "job.json"
ROWS_FILE = "rows.msgpack"
CHECKPOINT_FILE = "checkpoint.safetensors"
RESULT_FILE = "result.json"  # written last: a folder that has it is finished

# Exit codes by which the trainer names what the platform can explain.
DISK_FULL = errno.ENOSPC
NO_MEMORY = errno.ENOMEM


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


class Line(msgspec.Struct, frozen=True):
    """One line of the trainer's standard output. `rate` is tokens per second over the last lines."""

    point: Point
    steps: int
    total_tokens: int
    rate: float
    seconds_left: float


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
    """

    folder: str
    steps: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    best_step: int


def read_job(folder: Path) -> TuneJob:
    return msgspec.json.decode((folder / JOB_FILE).read_bytes(), type=TuneJob)


def read_prepared(folder: Path) -> Prepared:
    return msgspec.msgpack.decode((folder / ROWS_FILE).read_bytes(), type=Prepared)
