"""From a text's last hidden states to its one vector, as a sentence-transformers folder says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.weights import Weights


def _weighted_mean(states: Tensor) -> Tensor:
    """Later tokens count for more: the n-th counts n times."""
    weights = torch.arange(1, len(states) + 1, dtype=states.dtype, device=states.device)
    return weights @ states / weights.sum()


# By the names of sentence-transformers: from a text's states [tokens, hidden_size] to [hidden_size].
MODES: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda states: states[0],
    "lasttoken": lambda states: states[-1],
    "mean": lambda states: states.mean(0),
    "max": lambda states: states.amax(0),
    "mean_sqrt_len_tokens": lambda states: states.sum(0) / len(states) ** 0.5,
    "weightedmean": _weighted_mean,
}

_OLD_NAMES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"} | {
    "weightedmean_tokens": "weightedmean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "lasttoken": "lasttoken",
}

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": F.relu,
    "GELU": F.gelu,
}


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A layer after pooling: activation(x @ weight.T + bias)."""

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.device), self.bias
        return self.activation(F.linear(x, weight, None if bias is None else bias.to(x.device)))


@dataclass(frozen=True, slots=True, eq=False)
class Pooling:
    """Concatenates the vectors of `modes`, passes them through `layers`; `is_unit` scales them to 1.

    A folder that says nothing gets unit means.
    """

    modes: Sequence[str] = ("mean",)
    layers: Sequence[Dense] = ()
    is_unit: bool = True

    @classmethod
    def read(cls, folder: Path) -> Pooling:
        """What `folder/modules.json` and the folders that it names say.

        Raises:
            Unsupported: a module or a mode that is not known here.
            InvalidInput: a file is missing or broken.
        """
        if not (folder / "modules.json").exists():
            return cls()
        try:
            return cls._of_modules(folder)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{folder.name}/modules.json, or a file that it names, lacks something: {error}",
                hint="Download it again.",
            ) from error

    @classmethod
    def _of_modules(cls, folder: Path) -> Pooling:
        modes: list[str] = ["mean"]
        layers: list[Dense] = []
        is_unit = False
        for module in _read(folder / "modules.json"):
            # A name with a folder in it could reach outside.
            kind, path = module["type"].rpartition(".")[2], folder / Path(module["path"]).name
            if kind == "Pooling":
                modes = _modes(_read(path / "config.json"))
            elif kind == "Dense":
                layers.append(_dense(path))
            elif kind == "Normalize":
                is_unit = True
            elif kind not in ("Transformer", "Dropout"):
                raise Unsupported(f"{folder.name}: vectors through a '{kind}' are not known here.")
        return cls(modes, layers, is_unit)

    def __call__(self, states: Sequence[Tensor]) -> Tensor:
        """Vectors float32 [texts, size] of each text's states [tokens, hidden_size]."""
        rows = [torch.cat([MODES[mode](one.float()) for mode in self.modes]) for one in states]
        vectors = torch.stack(rows)
        for layer in self.layers:
            vectors = layer(vectors)
        return F.normalize(vectors, dim=-1) if self.is_unit else vectors


def _modes(config: dict[str, Any]) -> list[str]:
    """One name, a list of them, or a switch for each, as it was before."""
    given = config.get("pooling_mode")
    if given is None:
        old = ((name.removeprefix("pooling_mode_"), value) for name, value in config.items())
        given = [_OLD_NAMES[name] for name, value in old if value is True and name in _OLD_NAMES]
    modes = [given] if isinstance(given, str) else list(given)
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong or not modes:
        raise Unsupported(f"Pooling by {wrong or 'nothing'} is not known here.")
    return modes


def _dense(folder: Path) -> Dense:
    config, weights = _read(folder / "config.json"), Weights(folder)
    shape = (config["out_features"], config["in_features"])
    name = config.get("activation_function", "Tanh").rpartition(".")[2]
    if name not in _ACTIVATIONS:
        raise Unsupported(f"{folder.name}: the activation '{name}' is not known here.")
    weight = weights.get("linear.weight", shape).float().clone()
    bias = weights.get("linear.bias", shape[:1]).float().clone() if config.get("bias") else None
    return Dense(weight, bias, _ACTIVATIONS[name])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path.parent.name}/{path.name} cannot be read: {error}", hint="Download it again."
        ) from error
