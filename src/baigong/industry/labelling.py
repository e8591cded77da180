"""Answers of models that do not write: the likeliest label as text, or the number.

So a release that classifies is asked, measured, judged and compared as one that generates.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from baigong.inference.static import is_static
from baigong.model.architecture import architecture_of, is_own, read_fields

Answers = Literal["text", "label", "number"]

_HEADS = ("ForSequenceClassification", "ForImageClassification")
_READERS = ("Model", "ForMaskedLM", "ForPreTraining")


@lru_cache(maxsize=256)
def answers_of(folder: Path) -> Answers | None:
    """What a model answers a conversation with; None where it only makes vectors, or ranks.

    A folder's files never change, and every request asks.
    """
    if is_static(folder):
        return None
    fields = read_fields(folder)
    name = architecture_of(fields)
    if name.endswith(_HEADS):
        if fields.get("problem_type") == "regression":
            return "number"
        # transformers writes no labels where there are two that nobody named.
        return "label" if len(fields.get("id2label") or "  ") > 1 else None
    return None if name.endswith(_READERS) and not is_own(fields) else "text"


def label_text(answers: Answers, labels: tuple[str, ...], shares: list[float]) -> str:
    """The answer that a row of shares stands for: the likeliest label, or the only number."""
    if answers == "number":
        return f"{shares[0]:.6g}"
    return labels[max(range(len(shares)), key=shares.__getitem__)]
