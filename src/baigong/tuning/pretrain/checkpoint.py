"""Checkpoints: all of a run's state in one folder, replaced in one rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from baigong.errors import Conflict
from baigong.tuning.pretrain.batches import Position

_POINTER = "checkpoint.json"
_RANDOM = "random"


@dataclass
class Progress:
    """`seconds` counts computing only: a paused run does not grow older."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    started: str = ""
    finished: str = ""
    position: Position = field(default_factory=Position)


def save(
    folder: Path, model: Any, optimisers: list[torch.optim.Optimizer], progress: Progress
) -> None:
    """A new folder per checkpoint; the pointer moves only when all of it is on the disk."""
    target = folder / f"step-{progress.step:08d}"
    partial = folder / f"partial-{progress.step:08d}"
    if not target.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        weights.pop("lm_head.weight", None)  # tied to the embedding
        save_file(weights, partial / "model.safetensors")
        state = {name: value.contiguous() for name, value in _optimiser_state(optimisers)}
        save_file({**state, _RANDOM: torch.get_rng_state()}, partial / "optimisers.safetensors")
        for file in partial.iterdir():
            _sync(file)
        partial.rename(target)
    write_atomically(folder / _POINTER, json.dumps({"folder": target.name, **asdict(progress)}))
    _drop_others(folder, target)


def step_of(folder: Path) -> int:
    """The step of the last checkpoint; 0 before the first."""
    pointer = folder / _POINTER
    return int(json.loads(pointer.read_text())["step"]) if pointer.is_file() else 0


def load(
    folder: Path, model: Any, optimisers: list[torch.optim.Optimizer], device: str
) -> Progress | None:
    """None where no run has begun."""
    pointer = folder / _POINTER
    if not pointer.is_file():
        return None
    state = json.loads(pointer.read_text(encoding="utf-8"))
    source = folder / state.pop("folder")
    _drop_others(folder, source)  # a kill between the rename and the pointer leaves one
    weights = load_file(source / "model.safetensors", device=device)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    expected.pop("lm_head.weight", None)
    if expected != {name: value.shape for name, value in weights.items()}:
        raise Conflict(
            f"The run in {folder} has another shape than the recipe.",
            hint="Give another output folder, or the recipe that this run began with.",
        )
    model.load_state_dict(weights, strict=False)
    saved = load_file(source / "optimisers.safetensors")
    torch.set_rng_state(saved.pop(_RANDOM))
    _restore(optimisers, saved)
    return Progress(**{**state, "position": Position(**state["position"])})


def _optimiser_state(
    optimisers: list[torch.optim.Optimizer],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Named `optimiser.parameter.value`. The learning rate is not kept: every step sets it."""
    for number, optimiser in enumerate(optimisers):
        for parameter, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                yield f"{number}.{parameter}.{name}", value


def _restore(optimisers: list[torch.optim.Optimizer], saved: dict[str, torch.Tensor]) -> None:
    for number, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in saved.items():
            which, parameter, name = key.split(".")
            if int(which) == number:
                state.setdefault(int(parameter), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})


def _drop_others(folder: Path, kept: Path) -> None:
    for other in (*folder.glob("step-*"), *folder.glob("partial-*")):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
