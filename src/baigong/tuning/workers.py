"""The processes that share one training: which one this is, and how their gradients become one.

One process is the common case, and costs nothing. Several are started by torchrun: gloo between
processors, NCCL between GPUs. Each takes every n-th example of a batch; gradients are added up, so
that every process makes the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Workers:
    """This process among those that share its training."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device_here()
        if self.count > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def is_first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def share(self, examples: Sequence[T]) -> list[T]:
        """This process's part of a batch; it may be empty."""
        return list(examples[self.rank :: self.count])

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every parameter's gradient becomes the sum over all processes."""
        if self.count == 1:
            return
        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # One message for all: an adapter has hundreds of small tensors.
        flat = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        dist.all_reduce(flat)
        at = 0
        for parameter in trained:
            assert parameter.grad is not None
            parameter.grad.copy_(flat[at : at + parameter.numel()].view_as(parameter))
            at += parameter.numel()

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes what it is in the first process."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a value over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: what one decides alone would leave the others waiting."""
        return flag if self.count == 1 else bool(self.total(self._number(flag)).item())

    def of_first(self, value: float) -> float:
        """The first process's value, where clocks differ."""
        if self.count == 1:
            return value
        number = self._number(value)
        dist.broadcast(number, 0)
        return float(number)

    def end(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()

    def _number(self, value: float) -> Tensor:
        return torch.tensor(float(value), device=self.device)


def device_here() -> torch.device:
    """This process's GPU where there are any, else the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
