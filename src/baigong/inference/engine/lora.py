"""LoRA adapters in PEFT's own format, checked against the base and fused as its weights are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.decoder import LowRank, projection_shapes, projections
from baigong.inference.engine.pace import Pace, no_pace
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ModelConfig

# Settings of adapter_config.json that change the arithmetic, and the values under which they do not.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "layer_replication": (None, []),
    "alora_invocation_tokens": (None, []),
    "use_qalora": (False, None),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "arrow_config": (None,),
}

# "language_model" stands there where the base can see as well.
_KEY = re.compile(
    r"base_model\.model\.(?:(?:language_)?model\.)*layers\.(\d+)\.(.+)\.lora_([AB])\.weight"
)


@dataclass(frozen=True, slots=True)
class Product:
    """The addition x @ a.T @ b, with the scale in b. a is [rank, in] and b is [rank, out]."""

    a: Tensor
    b: Tensor

    def add(self, x: Tensor, y: Tensor) -> None:
        """See LowRank.add."""
        y.addmm_(torch.nn.functional.linear(x, self.a), self.b)


@dataclass(frozen=True, slots=True, eq=False)
class LoraAdapter:
    """An adapter in memory, of `size` bytes; `parts` is indexed by layer and by names of PROJECTIONS."""

    name: str
    parts: Sequence[dict[str, LowRank]]
    size: int


def load_adapter(
    name: str, folder: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> LoraAdapter:
    """Read a PEFT folder for the base that `config` describes.

    Raises:
        Unsupported: a kind of adapter, or a target, that this engine cannot add.
        InvalidInput: the files are missing or broken, or do not fit this base.
    """
    parts: list[dict[str, LowRank]] = [{} for _ in range(config.layers)]
    size = 0
    with torch.inference_mode():
        for layer, modules in read_adapter(folder, config).items():
            for projection, members in projections(config).items():
                found = {m: modules[m] for m in members if m in modules}
                if found:
                    product = _fuse(members, found, projection_shapes(config))
                    a, b = product.a.to(device, dtype), product.b.to(device, dtype)
                    parts[layer][projection] = Product(a, b)
                    size += a.nbytes + b.nbytes
    return LoraAdapter(name, parts, size)


@dataclass(frozen=True, slots=True)
class Pair:
    """What a module's output gains: scale * b @ a @ x. a [rank, in] and b [out, rank] are the file's own."""

    a: Tensor
    b: Tensor
    scale: float


def read_adapter(
    folder: Path, config: ModelConfig, pace: Pace = no_pace
) -> dict[int, dict[str, Pair]]:
    """The pairs of a PEFT folder by layer and module, with every shape checked.

    Raises:
        Unsupported, InvalidInput: as load_adapter.
    """
    settings, shapes = read_settings(folder), projection_shapes(config)
    pairs: dict[int, dict[str, Pair]] = {}
    for (layer, module), half in _halves(folder, config, pace).items():
        if half.keys() != {"A", "B"}:
            raise InvalidInput(
                f"{folder.name} holds only one half of layer {layer}'s {module}.",
                hint="Download or train the adapter again.",
            )
        out, into = shapes[module]
        a, b = half["A"], half["B"]
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise InvalidInput(f"{folder.name}: the halves of layer {layer}'s {module} differ.")
        if (b.shape[0], a.shape[1]) != (out, into):
            raise _misfit(
                folder,
                f"its {module} is {a.shape[1]} to {b.shape[0]}, and the base's {into} to {out}",
            )
        pace()
        scale = _scale(settings, layer, module, a.shape[0])
        pairs.setdefault(layer, {})[module] = Pair(a, b, scale)
    return pairs


def read_settings(folder: Path) -> dict[str, Any]:
    """What `folder/adapter_config.json` holds, where it is plain LoRA.

    Raises:
        Unsupported: another kind of adapter.
        InvalidInput: the file is missing.
    """
    path = folder / "adapter_config.json"
    if not path.exists():
        raise InvalidInput(
            f"{folder.name} has no adapter_config.json.", hint="Is it a PEFT adapter folder?"
        )
    settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if settings.get("peft_type") != "LORA":
        raise Unsupported(f"This engine adds LoRA adapters, not {settings.get('peft_type')}.")
    for key, values in _PLAIN.items():
        if settings.get(key) not in values:
            raise Unsupported(
                f"The adapter in {folder.name} uses {key}={settings[key]!r}.",
                hint="This engine adds plain LoRA; train without it, or merge it into the base.",
            )
    return settings


def _halves(
    folder: Path, config: ModelConfig, pace: Pace
) -> dict[tuple[int, str], dict[str, Tensor]]:
    """Tensors by layer and module, and by "A" and "B"."""
    weights, shapes = Weights(folder, "adapter_model"), projection_shapes(config)
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for key in weights.names:
        pace()
        match = _KEY.fullmatch(key)
        if match is None or match[2] not in shapes:
            raise Unsupported(
                f"The adapter in {folder.name} changes {_module(key)}, which this engine cannot.",
                hint=f"It can change {', '.join(m.rpartition('.')[2] for m in shapes)}.",
            )
        layer = int(match[1])
        if config.experts and layer in config.experts.layers and match[2].startswith("mlp."):
            raise _misfit(folder, f"layer {layer} of the base has experts, and no {match[2]}")
        if layer >= config.layers:
            raise _misfit(folder, f"it changes layer {layer}, and the base has {config.layers}")
        halves.setdefault((layer, match[2]), {})[match[3]] = weights.get(key)
    return halves


def _module(key: str) -> str:
    return re.sub(r"^base_model\.model\.|\.lora_.*$|\.weight$", "", key)


def _misfit(folder: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"The adapter in {folder.name} was made for another base: {why}.",
        hint="Use the base it was trained on.",
    )


def _scale(settings: dict[str, Any], layer: int, module: str, rank: int) -> float:
    name = f"model.layers.{layer}.{module}"
    alpha = settings.get("lora_alpha", 8)
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):  # PEFT's own rule
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _fuse(
    members: Sequence[str], found: Mapping[str, Pair], shapes: Mapping[str, tuple[int, int]]
) -> Product:
    """One product for a fused projection: the A's stacked, the B's in a block diagonal."""
    a = torch.cat([found[m].a.float() for m in members if m in found])
    b = a.new_zeros(len(a), sum(shapes[m][0] for m in members))
    row = column = 0
    for member in members:
        width = shapes[member][0]
        if member in found:
            pair = found[member]
            rank = len(pair.a)
            b[row : row + rank, column : column + width] = pair.b.float().T * pair.scale
            row += rank
        column += width
    return Product(a, b)
