"""A tuning whose process is killed, and whether another one ended with the same weights."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from safetensors.torch import load_file

from baigong.compute import ProcessFailed
from baigong.tuning import trainer
from baigong.tuning.job import CHECKPOINT_FILE
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import TuneResult, tune
from baigong.types import Progress, Row


def durable(spec: TuneSpec) -> TuneSpec:
    """The same with a checkpoint at every point of the curve."""
    return msgspec.structs.replace(spec, checkpoint_s=0.0)


async def killed_at(
    step: int, rows: Path | Sequence[Row], base: Path, spec: TuneSpec, work: Path
) -> None:
    """Tune until `step` is reported, and kill the trainer there."""

    def kill(progress: Progress) -> None:
        if progress.metrics["step"] == step:
            for child in psutil.Process().children(recursive=True):
                if str(work) in child.cmdline() and "supervise.py" not in " ".join(child.cmdline()):
                    child.kill()

    with pytest.raises(ProcessFailed):
        await tune(rows, base, durable(spec), work, kill)


def live(work: Path, checkpoints: int, seconds: float) -> None:
    """Train a laid job until so many checkpoints are written and so long after, and kill it there.

    The process is forked from one that has imported the trainer: a life takes as long as it learns.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([trainer.__name__, "baigong.tuning.learners.supervised"])
    file = work / CHECKPOINT_FILE
    before = _written(file)
    process = context.Process(target=trainer.main, args=([str(work)],))
    process.start()
    for _ in range(checkpoints):
        while (now := _written(file)) == before and process.is_alive():
            time.sleep(0.001)
        before = now
    time.sleep(seconds)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"


def _written(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def same_bits(one: TuneResult, other: TuneResult) -> None:
    """Hold the weights of both, of an adapter or a whole model, against each other."""
    [name] = [file.name for file in one.folder.glob("*.safetensors")]
    theirs, ours = (load_file(result.folder / name) for result in (one, other))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
