"""MLPs of which a router chooses a few for each token (mixture of experts)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """One layer's experts.

    Attributes:
        router: [experts, hidden_size].
        gate_up: for each expert [hidden_size, 2 * inner_size].
        down: for each expert [inner_size, hidden_size].
        chosen: how many each token passes through.
        is_normalised: their shares sum to one.
    """

    router: Tensor
    gate_up: Sequence[Tensor]
    down: Sequence[Tensor]
    activation: Callable[[Tensor], Tensor]
    chosen: int
    is_normalised: bool

    def __call__(self, x: Tensor) -> Tensor:
        """[tokens, hidden_size]: what each token's experts make of it, by their shares.

        The tokens of one expert stand together, so that its weights are read once in a step.
        """
        shares, experts = F.linear(x, self.router).softmax(-1, torch.float32).topk(self.chosen)
        if self.is_normalised:
            shares /= shares.sum(-1, keepdim=True)
        order = experts.flatten().argsort(stable=True)
        tokens = order // self.chosen
        counts = experts.flatten().bincount(minlength=len(self.down)).tolist()
        parts = []
        for number, part in enumerate(torch.split(x[tokens], counts)):
            if len(part):
                gate, up = torch.mm(part, self.gate_up[number]).chunk(2, -1)
                parts.append(torch.mm(self.activation(gate) * up, self.down[number]))
        done = torch.cat(parts) * shares.flatten()[order].to(x.dtype).unsqueeze(1)
        return torch.zeros_like(x).index_add_(0, tokens, done)
