"""Means over the examples of some steps."""

from __future__ import annotations

import torch
from torch import Tensor


class Tally:
    """Adds up named values of examples until they are taken; they stay on their device till then."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor) -> None:
        """Each (examples,); it may be empty."""
        for name, value in values.items():
            self._parts.setdefault(name, []).append(value.detach().float())

    def take(self) -> dict[str, float]:
        """The mean of each name that has any, with the margin between two rewards; then it is empty."""
        whole = {name: torch.cat(parts) for name, parts in self._parts.items()}
        self._parts.clear()
        means = {name: float(value.mean()) for name, value in whole.items() if len(value)}
        if means.keys() >= {"reward_chosen", "reward_rejected"}:
            means["margin"] = means["reward_chosen"] - means["reward_rejected"]
        return means
