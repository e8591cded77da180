"""What can be done with a model of transformers, by what its config.json says of it.

transformers' own tables are asked, whose import takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from baigong.model.architecture import architecture_of, is_own, looks_ahead

# What writes makes vectors as well.
Ability = Literal["write", "embed", "classify", "look"]

# Ends of an encoder's class name: with no head, or with the one it was first trained with.
_ENCODERS = ("Model", "ForMaskedLM", "ForPreTraining")

# By a card's task: which ability serves it, and by which of transformers' tables it is tuned.
_How = tuple[frozenset[Ability], str]
_WRITING: _How = (frozenset({"write"}), "CAUSAL_LM")
_VECTORS: _How = (frozenset({"write", "embed"}), "")
_PICTURES = "IMAGE_CLASSIFICATION"
_TASKS: Mapping[str, _How] = {
    "text-generation": _WRITING,
    "image-text-to-text": _WRITING,
    "feature-extraction": _VECTORS,
    "sentence-similarity": _VECTORS,
    "text-ranking": (frozenset({"write", "classify"}), "SEQUENCE_CLASSIFICATION"),
    "text-classification": (frozenset({"classify"}), "SEQUENCE_CLASSIFICATION"),
    "fill-mask": (frozenset(), "SEQUENCE_CLASSIFICATION"),
    "image-classification": (frozenset({"look"}), _PICTURES),
    "image-feature-extraction": (frozenset(), _PICTURES),
}


def ability_of(fields: dict[str, Any], *, has_pooling: bool) -> Ability | None:
    """What an engine does with it; None is nothing.

    Args:
        fields: of config.json.
        has_pooling: whether its files say how a text's vector is made (modules.json).
    """
    name, kind = architecture_of(fields), fields.get("model_type")
    if fields.get("quantization_config"):
        return None
    if is_own(fields):
        return "write"
    if _brings_its_own(fields):
        return None
    if name in _table("SEQUENCE_CLASSIFICATION").values():
        return "classify"
    if name in _table("IMAGE_CLASSIFICATION").values():
        return "look"
    has_pooling = has_pooling or looks_ahead(fields)
    if name in _table("CAUSAL_LM").values() and not has_pooling:
        return "write"
    is_encoder = has_pooling or name.endswith(_ENCODERS)
    if is_encoder and kind in _table("") and not fields.get("is_encoder_decoder"):
        return "embed"
    return None


def is_served(task: str, ability: Ability | None) -> bool:
    """Whether a model that can do this does what its card says it is for."""
    return task in _TASKS and ability in _TASKS[task][0]


def takes_adapters(task: str, ability: Ability | None) -> bool:
    """Whether what was tuned for the task may stay beside the base, for the engine to add."""
    return ability == "write" and _TASKS.get(task) == _WRITING


def is_tuned(task: str, fields: dict[str, Any]) -> bool:
    """Whether a model that is for this can be a base of the same, or of classification."""
    if task not in _TASKS or fields.get("quantization_config") or _brings_its_own(fields):
        return False
    return fields.get("model_type") in _table(_TASKS[task][1])


def _brings_its_own(fields: dict[str, Any]) -> bool:
    """Whether its class is Python among its files, which is never run here."""
    if "auto_map" not in fields:
        return False
    tables = ("", "CAUSAL_LM", "SEQUENCE_CLASSIFICATION", "IMAGE_CLASSIFICATION", "MASKED_LM")
    return not any(architecture_of(fields) in _table(name).values() for name in tables)


def _table(head: str) -> Mapping[str, Any]:
    """transformers' classes by `model_type`: those with a head, or without."""
    from transformers.models.auto import modeling_auto

    name = f"MODEL_FOR_{head}_MAPPING_NAMES" if head else "MODEL_MAPPING_NAMES"
    table: Mapping[str, Any] = getattr(modeling_auto, name)
    return table
