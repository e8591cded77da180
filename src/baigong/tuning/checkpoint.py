"""What survives a kill: all that the rest of a run depends on, in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from baigong.tuning.curve import Point
from baigong.tuning.files import write_file

Named = dict[str, Tensor]


class State(msgspec.Struct):
    """Where a run stands, besides its tensors.

    Attributes:
        step: done; rows, learning rate and random numbers of the next follow from it alone.
        steps: at which it ends; fewer than planned once a time limit shortened it.
        micro: padded tokens that go through the model at once; halved when memory runs out.
        best: (accuracy, -loss, step) of the evaluation whose weights are kept.
        losses: of the steps since the last point of the curve.
    """

    step: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    fitted: bool = False
    micro: int = 0
    best: tuple[float, float, int] | None = None
    points: list[Point] = []
    losses: list[float] = []


def write_checkpoint(
    path: Path,
    state: State,
    trained: Named,
    optimizer: torch.optim.Optimizer,
    best: Named,
    running: Named,
) -> None:
    """Weights, the optimiser's moments, the best weights so far, what else changes, and the state."""
    tensors: Named = {f"best/{name}": tensor for name, tensor in best.items()}
    tensors |= {f"running/{name}": tensor for name, tensor in running.items()}
    for name, parameter in trained.items():
        moments = optimizer.state[parameter]
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"mean/{name}"] = moments["exp_avg"]
        tensors[f"square/{name}"] = moments["exp_avg_sq"]
    said = {"state": msgspec.json.encode(state).decode()}
    # Straight from the tensors: as bytes first they would be in memory three times.
    write_file(path, lambda place: save_file(tensors, place, said))


def read_checkpoint(
    path: Path,
    trained: Named,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    running: Named,
) -> tuple[State, Named]:
    """Put weights and moments back; the state, and the best weights so far."""
    with safe_open(str(path), framework="pt", device=str(device)) as file:
        state = msgspec.json.decode(file.metadata()["state"], type=State)
        names: list[str] = list(file.keys())
        tensors = {name: file.get_tensor(name) for name in names}
    for name, parameter in trained.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(state.step)),
            "exp_avg": tensors[f"mean/{name}"],
            "exp_avg_sq": tensors[f"square/{name}"],
        }
    for name, tensor in running.items():
        tensor.copy_(tensors[f"running/{name}"])
    best = {
        name.removeprefix("best/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("best/")
    }
    return state, best
