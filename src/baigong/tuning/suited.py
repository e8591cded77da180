"""Whether a base can learn an objective at all, by what its files say: before any time is spent on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baigong.errors import InvalidInput
from baigong.model.architecture import architecture_of, is_own, read_fields
from baigong.tuning.spec import WHOLE, Goal

# Ends of the names of classes that do not write: encoders, and models with a head for something else.
_READERS = ("ForMaskedLM", "ForPreTraining", "Classification", "ForQuestionAnswering")


def check_base(folder: Path, objective: Goal, name: str = "") -> None:
    """Look at the base in `folder`, which people know by its `name`.

    Raises:
        InvalidInput: it sees and is to read, or the other way round; it only reads and is to write; it is
            quantised; a file is missing.
    """
    fields = read_fields(folder)
    kind = f"{name or folder.name} ({fields.get('model_type', '?')})"
    if fields.get("quantization_config"):
        raise _unsuited(
            f"The weights of {kind} are quantised, and tuning takes gradients of whole numbers.",
            "Choose the same model in bfloat16, float16 or float32.",
        )
    if objective == "images":
        _check_sight(folder, fields, kind)
        return
    if sees(fields):
        raise _unsuited(
            f"{kind} looks at pictures, and objective {objective} learns from texts.",
            "Set task: images, or choose a base that reads texts.",
        )
    if not (folder / "tokenizer.json").exists():
        raise _unsuited(
            f"{kind} has no tokenizer.json.", "Save it with a fast tokenizer and pull it again."
        )
    if objective not in WHOLE and not writes(fields):
        raise _unsuited(
            f"{kind} reads and does not write, and objective {objective} learns to write.",
            "Set tune.objective: classify, task: regression or task: pairs, or choose a base that was"
            " made for chat (names often end in -Instruct, -it or -Chat).",
        )


def sees(fields: dict[str, Any]) -> bool:
    """Whether a model of this config.json looks at pictures alone."""
    return "num_channels" in fields and not fields.get("vocab_size")


def _check_sight(folder: Path, fields: dict[str, Any], kind: str) -> None:
    if not sees(fields):
        raise _unsuited(
            f"{kind} is no model that looks at pictures alone.",
            "Choose one such as ViT, Swin, ConvNeXt, ResNet or MobileNet.",
        )
    if not (folder / "preprocessor_config.json").exists():
        raise _unsuited(
            f"{kind} has no preprocessor_config.json, which says how pictures are prepared.",
            "Pull it again with that file.",
        )


def writes(fields: dict[str, Any]) -> bool:
    """Whether a model of this config.json goes on with a text, and so sees what stands before alone."""
    name = architecture_of(fields)
    is_encoder = name.endswith("Model") and not name.endswith("LMHeadModel")
    return is_own(fields) or not (is_encoder or name.endswith(_READERS))


def _unsuited(message: str, hint: str) -> InvalidInput:
    return InvalidInput(message, hint=hint, param="base")
