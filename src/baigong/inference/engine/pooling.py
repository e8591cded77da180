"""From a text's last hidden states to its one vector; `hub.vectors` reads how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baigong.inference.engine.weights import Weights
from baigong.model.vectors import DenseLayer, Vectors


def _weighted_mean(states: Tensor) -> Tensor:
    """Later tokens count for more: the n-th counts n times."""
    weights = torch.arange(1, len(states) + 1, dtype=states.dtype, device=states.device)
    return weights @ states / weights.sum()


# From a text's states [tokens, hidden_size] to [hidden_size], by the names in `hub.vectors.MODES`.
_MODES: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda states: states[0],
    "lasttoken": lambda states: states[-1],
    "mean": lambda states: states.mean(0),
    "max": lambda states: states.amax(0),
    "mean_sqrt_len_tokens": lambda states: states.sum(0) / len(states) ** 0.5,
    "weightedmean": _weighted_mean,
}

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": F.relu,
    "GELU": F.gelu,
}


class _Dense:
    """A layer after pooling: activation(x @ weight.T + bias)."""

    def __init__(self, layer: DenseLayer) -> None:
        weights, shape = Weights(layer.folder), (layer.outputs, layer.inputs)
        self._weight = weights.get("linear.weight", shape).float().clone()
        self._bias = None
        if layer.has_bias:
            self._bias = weights.get("linear.bias", shape[:1]).float().clone()
        self._activation = _ACTIVATIONS[layer.activation]

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._weight.to(x.device), self._bias
        return self._activation(F.linear(x, weight, None if bias is None else bias.to(x.device)))


@dataclass(frozen=True, slots=True, eq=False)
class Pooling:
    """`vectors`, with the weights of its layers read."""

    modes: Sequence[str]
    layers: Sequence[Callable[[Tensor], Tensor]]
    is_unit: bool

    @classmethod
    def of(cls, vectors: Vectors) -> Pooling:
        """Read the weights.

        Raises:
            InvalidInput: those of a layer are missing or have another shape.
        """
        return cls(vectors.modes, [_Dense(layer) for layer in vectors.layers], vectors.is_unit)

    def __call__(self, states: Sequence[Tensor]) -> Tensor:
        """Vectors float32 [texts, size] of each text's states [tokens, hidden_size]."""
        rows = [torch.cat([_MODES[mode](one.float()) for mode in self.modes]) for one in states]
        vectors = torch.stack(rows)
        for layer in self.layers:
            vectors = layer(vectors)
        return F.normalize(vectors, dim=-1) if self.is_unit else vectors
