"""How a text's vector is made of its last hidden states, as a sentence-transformers folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput, Unsupported

MODES = ("cls", "lasttoken", "mean", "max", "mean_sqrt_len_tokens", "weightedmean")
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU")

_OLD_NAMES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"} | {
    "weightedmean_tokens": "weightedmean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "lasttoken": "lasttoken",
}


class DenseLayer(msgspec.Struct, frozen=True):
    """A layer after pooling, from `inputs` to `outputs` numbers, whose weights lie in `folder`."""

    folder: Path
    inputs: int
    outputs: int
    has_bias: bool
    activation: str


class Vectors(msgspec.Struct, frozen=True):
    """The states pooled by each of `modes`, side by side, through `layers`; `is_unit` scales to 1.

    A folder that says nothing gets unit means.
    """

    modes: tuple[str, ...] = ("mean",)
    layers: tuple[DenseLayer, ...] = ()
    is_unit: bool = True

    def size(self, hidden_size: int) -> int:
        """Floats of one vector."""
        return self.layers[-1].outputs if self.layers else len(self.modes) * hidden_size

    @classmethod
    def read(cls, folder: Path) -> Vectors:
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
    def _of_modules(cls, folder: Path) -> Vectors:
        modes: tuple[str, ...] = ("mean",)
        layers: list[DenseLayer] = []
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
        return cls(modes, tuple(layers), is_unit)


def longest_text(folder: Path) -> int | None:
    """Tokens of a text that sentence-transformers reads, where the folder says so."""
    path = folder / "sentence_bert_config.json"
    found = _read(path).get("max_seq_length") if path.exists() else None
    return int(found) if found else None


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    """One name, a list of them, or a switch for each, as it was before."""
    given = config.get("pooling_mode")
    if given is None:
        old = ((name.removeprefix("pooling_mode_"), value) for name, value in config.items())
        given = [_OLD_NAMES[name] for name, value in old if value is True and name in _OLD_NAMES]
    modes = (given,) if isinstance(given, str) else tuple(given)
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong or not modes:
        raise Unsupported(f"Pooling by {wrong or 'nothing'} is not known here.")
    return modes


def _dense(folder: Path) -> DenseLayer:
    config = _read(folder / "config.json")
    name = config.get("activation_function", "Tanh").rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise Unsupported(f"{folder.name}: the activation '{name}' is not known here.")
    sizes = int(config["in_features"]), int(config["out_features"])
    return DenseLayer(folder, *sizes, bool(config.get("bias")), name)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path.parent.name}/{path.name} cannot be read: {error}", hint="Download it again."
        ) from error
