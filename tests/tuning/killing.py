"""A tuning whose process is killed, and whether another one ended with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from safetensors.torch import load_file

from baigong.compute import ProcessFailed
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


def same_bits(one: TuneResult, other: TuneResult) -> None:
    """Hold the weights of both, of an adapter or a whole model, against each other."""
    [name] = [file.name for file in one.folder.glob("*.safetensors")]
    theirs, ours = (load_file(result.folder / name) for result in (one, other))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
