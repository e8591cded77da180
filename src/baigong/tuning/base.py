"""What planning must know of a base, read from its config and the headers of its weights."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baigong.errors import InvalidInput, NotFound
from baigong.model.architecture import plain_name, shape_of
from baigong.model.headers import Headers
from baigong.tuning.suited import sees

NUMBERS = 30  # of the hidden size that a block keeps of each token for its backward pass
USUAL = 18  # numbers into and out of a block's linear layers, by its hidden size
OTHER_SENSES = "vision|visual|image|audio"  # in the names of parts that read no text
# "h" are GPT-2's and Falcon's; ALBERT's are `albert_layers`.
_BLOCK = re.compile(rf"(?!.*({OTHER_SENSES})).*(?:\b|_)(?:layers?|h)\.\d+\.")
_ROUTERS = {"gate", "router"}


@dataclass(frozen=True, slots=True)
class Base:
    """A base by its sizes.

    Attributes:
        parameters: all weights.
        linear: name of each kind of linear layer in the blocks -> sum of (inputs + outputs).
        inputs: numbers that go into those layers, of one token.
        products: weights of those layers, each a multiplication per token.
        is_bfloat16: whether its weights are stored in that type.
        is_tied: whether the output head is the embedding.
        widest: the smaller side of the layer in which that is greatest: no rank can be above it.
    """

    folder: Path
    parameters: int
    linear: dict[str, int]
    inputs: int
    products: int
    hidden: int
    layers: int
    vocabulary: int
    context: int
    widest: int
    is_bfloat16: bool
    is_tied: bool

    @property
    def targets(self) -> list[str]:
        """The modules that an adapter covers: every linear layer but the output head."""
        return sorted(self.linear)


def read_base(folder: Path) -> Base:
    """What planning must know of a model folder.

    Raises:
        NotFound: it holds no config.json or no safetensors.
        InvalidInput: it holds no linear layers that could be tuned, or its files are broken.
        Unsupported: its config.json asks for what is not known here.
    """
    if not any(folder.glob("*.safetensors")) or not (folder / "config.json").exists():
        raise NotFound(
            f"There is no model in {folder.name}.", hint="It needs config.json and safetensors."
        )
    headers = Headers.read(folder)
    if sees(headers.fields):
        return read_sight(folder, headers)
    shape = shape_of(headers.fields, headers.name)
    linear: dict[str, int] = {}
    products = inputs = widest = 0
    # Experts, and what chooses among them, are no layers of their own in transformers. PEFT takes
    # the name of one for all experts, also where it is meant for a layer without any.
    experts = {_parts(name)[1] for name in headers.tensors if ".experts." in name} | _ROUTERS
    for name, tensor in headers.tensors.items():
        parent, leaf = _parts(plain_name(name))
        # Blocks of a part that sees have other names, and are not tuned.
        if len(tensor.shape) == 2 and _BLOCK.match(parent):
            products += math.prod(tensor.shape)
            if leaf not in experts:
                linear[leaf] = linear.get(leaf, 0) + sum(tensor.shape)
                inputs += tensor.shape[1]
                widest = max(widest, min(tensor.shape))
    if not linear:
        raise InvalidInput(
            f"{folder.name} ({shape.architecture}) has no linear layers in numbered blocks, where a"
            " text model is tuned.",
            hint="Choose another base: Llama, Qwen, Mistral, Gemma, Phi-3 or BERT and their kin are.",
            param="base",
        )
    return Base(
        folder=folder,
        parameters=headers.parameters,
        linear=linear,
        inputs=inputs,
        products=products,
        hidden=shape.hidden_size,
        layers=shape.layers,
        vocabulary=shape.vocabulary,
        context=shape.context,
        widest=widest,
        is_bfloat16=_is_bfloat16(headers),
        is_tied=shape.is_tied,
    )


def _parts(name: str) -> tuple[str, str]:
    """Of a weight's name the layer's own, after those of what it is a part of."""
    parent, _, leaf = name.removesuffix(".weight").rpartition(".")
    return parent, leaf


_STAGE = re.compile(r"\bstages\.(\d+)\.")
_OUTPUTS = 4  # numbers that a convolution, its normalisation and activation keep for each output


def read_sight(folder: Path, headers: Headers) -> Base:
    """The same of a model for pictures. Its `products` and `hidden` are those of a picture's patches together.

    A convolution of stage n is taken to see a side of 1 / (4 * 2^n) of the picture's, as in ResNet.
    """
    fields = headers.fields
    side = _side(folder, fields)
    patches = (side // int(fields.get("patch_size") or 16)) ** 2 + 1
    linear: dict[str, int] = {}
    products = kept = widest = 0
    for name, tensor in headers.tensors.items():
        _, leaf = _parts(name)
        if len(tensor.shape) == 2 and _BLOCK.match(name):
            linear[leaf] = linear.get(leaf, 0) + sum(tensor.shape)
            products += patches * math.prod(tensor.shape)
            widest = max(widest, min(tensor.shape))
        elif len(tensor.shape) == 4 and "num_hidden_layers" not in fields:
            stage = _STAGE.search(name)
            area = (side / (2 if stage is None else 4 << int(stage[1]))) ** 2
            products += round(area * math.prod(tensor.shape))
            kept += round(area * tensor.shape[0] * _OUTPUTS / USUAL)
    layers = int(fields.get("num_hidden_layers") or 1)
    hidden = kept or patches * int(fields.get("hidden_size") or 1)
    return Base(
        folder=folder,
        parameters=headers.parameters,
        linear=linear,
        inputs=0,
        products=products,
        hidden=hidden,
        layers=layers,
        vocabulary=0,
        context=1,
        widest=widest,
        is_bfloat16=_is_bfloat16(headers),
        is_tied=False,
    )


def _side(folder: Path, fields: dict[str, Any]) -> int:
    """Pixels along a side of the pictures that a model takes."""
    path = folder / "preprocessor_config.json"
    said = json.loads(path.read_text("utf-8")) if path.exists() else {}
    size = said.get("crop_size") or said.get("size") or fields.get("image_size") or 224
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 224
    return int(size)


def _is_bfloat16(headers: Headers) -> bool:
    return next(iter(headers.tensors.values())).dtype == "BF16"
