"""What a tuning would do, before it is begun: rows, tokens, steps, memory and time."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from baigong.compute import usable_cores
from baigong.errors import InvalidInput, NotFound
from baigong.hub.architecture import plain_name, shape_of
from baigong.hub.headers import Headers
from baigong.tuning.examples.rows import Prepared, read_rows
from baigong.tuning.objectives import examples_of
from baigong.tuning.spec import Settings, TuneSpec, resolve
from baigong.tuning.teacher import check_teacher
from baigong.types import Row

_START_S = 8.0  # importing torch, transformers and peft, and reading a small model
_KEPT = 30  # numbers of the hidden size that a block keeps of each token
_START_BYTES = 800 << 20  # the same, and compiled kernels, in resident memory
# Training against a plain float32 product, measured with a base of 6.5 M weights in batches of 16:
# 0.77 of its rate in float32, 1.13 where the processor multiplies bfloat16.
_EFFICIENCY = 0.8
# Of that, what is left where answers are sampled, a token of each at a time.
_SAMPLING_EFFICIENCY = 0.5
OTHER_SENSES = "vision|visual|image|audio"  # in the names of parts that read no text
_BLOCK = re.compile(rf"(?!.*({OTHER_SENSES})).*\blayers?\.\d+\.")


@dataclass(frozen=True, slots=True)
class Base:
    """What planning must know of a base, read from its config and the headers of its weights.

    Attributes:
        parameters: all weights.
        linear: name of each kind of linear layer in the blocks -> sum of (inputs + outputs).
        products: weights of those layers, each a multiplication per token.
        widest: the smaller side of the layer in which that is greatest: no rank can be above it.
    """

    folder: Path
    parameters: int
    linear: dict[str, int]
    products: int
    hidden: int
    layers: int
    vocabulary: int
    context: int
    widest: int

    @property
    def targets(self) -> list[str]:
        """The modules that an adapter covers: every linear layer but the output head."""
        return sorted(self.linear)


class TunePlan(msgspec.Struct, frozen=True):
    """What one tuning comes to.

    Attributes:
        settings: every hyper-parameter, those left to "auto" resolved.
        rows: to train on.
        validation_rows: that the loss is also measured on.
        dropped: training rows left out, by reason.
        tokens: in the training rows, once through.
        answer_tokens: those of them that carry loss.
        longest_row: in tokens.
        context: of the base, in tokens.
        parameters: of the base.
        trainable_parameters: of the adapter, or of the base when it is tuned as a whole.
        memory_bytes: about what the training process will hold.
        seconds: about how long it takes on this machine when it has little else to do.
        shortened: whether `max_minutes` cut the automatic number of epochs.
    """

    settings: Settings
    rows: int
    validation_rows: int
    dropped: dict[str, int]
    tokens: int
    answer_tokens: int
    longest_row: int
    context: int
    parameters: int
    trainable_parameters: int
    memory_bytes: int
    seconds: float
    shortened: bool = False

    @property
    def sentence(self) -> str:
        """The plan in one line for a person."""
        s = self.settings
        size = f"rank {s.rank}" if s.is_adapter else "all weights"
        return (
            f"{s.method} ({size}), {self.rows} rows of {self.tokens:,} tokens, {s.epochs:g} epochs, "
            f"{s.steps} steps, about {self.seconds / 60:.1f} minutes and "
            f"{self.memory_bytes / 2**30:.1f} GiB"
        )


def plan_tuning(rows: Path | Sequence[Row], base: Path, spec: TuneSpec | None = None) -> TunePlan:
    """What tuning `base` on `rows` would come to. Blocks for a probe of about 0.1 s.

    Raises:
        DataProblems, InvalidInput: the rows cannot be read, or none can be trained on.
        NotFound, Unsupported: the folder is no model that can be tuned.
    """
    facts = read_base(base)
    spec = spec or TuneSpec()
    check_teacher(base, spec)
    return plan_prepared(examples_of(read_rows(rows), base, facts.context, spec), facts, spec)


def plan_prepared(prepared: Prepared[Any], base: Base, spec: TuneSpec | None = None) -> TunePlan:
    """The plan for rows that are token ids already."""
    spec = spec or TuneSpec()
    count = len(prepared.train)
    settings = resolve(spec, count, base.parameters)
    if settings.is_adapter and not base.linear:
        raise InvalidInput(
            f"{base.folder.name} has no linear layers that an adapter could cover.",
            hint="Use tune.method: full.",
            param="tune.method",
        )
    if settings.is_adapter and settings.rank > base.widest:
        raise InvalidInput(
            f"tune.rank is {settings.rank}, and no layer of the base is wider than {base.widest}.",
            hint=f"Set tune.rank to at most {base.widest}: more adds weights that change nothing.",
            param="tune.rank",
        )
    teacher = read_base(Path(spec.teacher)) if spec.teacher else None
    seconds = _seconds(prepared, base, settings, teacher)
    shortened = False
    if spec.max_minutes is not None and seconds > (limit := 60 * spec.max_minutes):
        share = max(0.0, limit - _START_S) / max(1e-9, seconds - _START_S)
        settings = _fewer_epochs(spec, settings, share, count, base.parameters)
        seconds, shortened = _seconds(prepared, base, settings, teacher), True
    return TunePlan(
        settings=settings,
        rows=count,
        validation_rows=len(prepared.validation),
        dropped=prepared.dropped,
        tokens=prepared.tokens,
        answer_tokens=prepared.scored,
        longest_row=prepared.longest,
        context=base.context,
        parameters=base.parameters,
        trainable_parameters=_trainable(base, settings),
        memory_bytes=_memory(prepared, base, settings, _others(base, settings, teacher)),
        seconds=seconds,
        shortened=shortened,
    )


def _fewer_epochs(
    spec: TuneSpec, settings: Settings, share: float, rows: int, parameters: int
) -> Settings:
    """As many epochs as fit, whole ones where there is more than one."""
    epochs = settings.epochs * share
    epochs = float(math.floor(epochs)) if epochs > 1 else max(0.05, epochs)
    return resolve(msgspec.structs.replace(spec, epochs=epochs), rows, parameters)


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
    if "num_channels" in headers.fields and not headers.fields.get("vocab_size"):
        return read_sight(folder, headers)
    shape = shape_of(headers.fields, headers.name)
    linear: dict[str, int] = {}
    products = widest = 0
    for name, tensor in headers.tensors.items():
        parent, _, leaf = plain_name(name).removesuffix(".weight").rpartition(".")
        # Blocks of a part that sees have other names, and are not tuned.
        if len(tensor.shape) == 2 and _BLOCK.match(parent):
            products += math.prod(tensor.shape)
            # Experts, and the gate that chooses them, are no layers of their own in transformers.
            if ".experts." not in name and leaf != "gate":
                linear[leaf] = linear.get(leaf, 0) + sum(tensor.shape)
                widest = max(widest, min(tensor.shape))
    if not linear:
        raise InvalidInput(f"{folder.name} has no linear layers that an adapter could cover.")
    return Base(
        folder=folder,
        parameters=headers.parameters,
        linear=linear,
        products=products,
        hidden=shape.hidden_size,
        layers=shape.layers,
        vocabulary=shape.vocabulary,
        context=shape.context,
        widest=widest,
    )


_STAGE = re.compile(r"\bstages\.(\d+)\.")
_NUMBERS = 4  # that a convolution, its normalisation and activation keep for each output


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
        leaf = name.removesuffix(".weight").rpartition(".")[2]
        if len(tensor.shape) == 2 and _BLOCK.match(name):
            linear[leaf] = linear.get(leaf, 0) + sum(tensor.shape)
            products += patches * math.prod(tensor.shape)
            widest = max(widest, min(tensor.shape))
        elif len(tensor.shape) == 4 and "num_hidden_layers" not in fields:
            stage = _STAGE.search(name)
            area = (side / (2 if stage is None else 4 << int(stage[1]))) ** 2
            products += round(area * math.prod(tensor.shape))
            kept += round(area * tensor.shape[0] * _NUMBERS / _KEPT)
    layers = int(fields.get("num_hidden_layers") or 1)
    hidden = kept or patches * int(fields.get("hidden_size") or 1)
    return Base(
        folder=folder,
        parameters=headers.parameters,
        linear=linear,
        products=products,
        hidden=hidden,
        layers=layers,
        vocabulary=0,
        context=1,
        widest=widest,
    )


def _side(folder: Path, fields: dict[str, Any]) -> int:
    """Pixels along a side of the pictures that a model takes."""
    path = folder / "preprocessor_config.json"
    said = json.loads(path.read_text("utf-8")) if path.exists() else {}
    size = said.get("crop_size") or said.get("size") or fields.get("image_size") or 224
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 224
    return int(size)


def _trainable(base: Base, settings: Settings) -> int:
    if not settings.is_adapter:
        return base.parameters
    return settings.rank * sum(base.linear.values())


def _others(base: Base, settings: Settings, teacher: Base | None) -> int:
    """Weights that are only read: a teacher's, or the base's own beside one that is tuned whole."""
    if teacher is not None:
        return teacher.parameters
    return base.parameters if settings.beta and not settings.is_adapter else 0


def _memory(prepared: Prepared[Any], base: Base, settings: Settings, others: int) -> int:
    """Weights, what the optimiser keeps (gradient, two moments, the best so far), activations.

    A block keeps about 30 numbers of the hidden size per token for its backward pass, and each
    answer token its logits four times over. `others` are weights that stand beside and only read.
    """
    weights = 4 * (base.parameters + others) + 16 * _trainable(base, settings)
    tokens = settings.batch_size * prepared.longest
    answers: int = settings.batch_size * max(e.scored for e in prepared.train)
    # A teacher's logits, and both as logarithms of shares.
    copies = 9 if settings.objective == "distill" else 4
    activations = 4 * (
        tokens * base.layers * _KEPT * base.hidden + copies * answers * base.vocabulary
    )
    return _START_BYTES + weights + activations


def _seconds(
    prepared: Prepared[Any], base: Base, settings: Settings, teacher: Base | None
) -> float:
    """Floating-point operations over the rate of a plain matrix product, measured just now.

    Per token and weight: forward 2 and backward 2 through what is frozen, and 2 more where the
    weight itself has a gradient. A teacher reads every token once; what is sampled is read, token by
    token, before it is learnt from.
    """
    own = _trainable(base, settings) if settings.is_adapter else base.products / 3
    validation: int = sum(example.length for example in prepared.validation)
    passes = settings.steps / settings.evaluate_steps
    forward_only = validation * passes / 3
    work: float = (prepared.tokens * settings.epochs + forward_only) * (4 * base.products + 6 * own)
    work += prepared.scored * settings.epochs * 4 * base.hidden * base.vocabulary
    if teacher is not None:
        each = prepared.tokens * teacher.products + prepared.scored * base.hidden * base.vocabulary
        work += (settings.epochs + passes / 10) * 2 * each
    if settings.objective == "grpo":
        asked = sum(example.scored for example in prepared.validation)
        sampled = prepared.scored * settings.epochs + asked * passes
        head = base.hidden * base.vocabulary
        work += sampled * 2 * (base.products + own + head) / _SAMPLING_EFFICIENCY
    return _START_S + work / (_EFFICIENCY * _matrix_rate() * usable_cores())


def _matrix_rate() -> float:
    """Floating-point operations per second of processor time in a float32 product, on one core."""
    side = 64  # so small that numpy's library keeps it on the calling thread
    matrix, product = np.ones((side, side), np.float32), np.empty((side, side), np.float32)
    rounds, started = 0, time.thread_time()
    while (spent := time.thread_time() - started) < 0.05:
        for _ in range(100):
            np.matmul(matrix, matrix, out=product)
        rounds += 100
    return rounds * 2 * side**3 / spent
