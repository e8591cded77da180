"""Rows whose answer is a label, a number or another text, as ids: what objectives with a head learn from.

A text is read as `/v1/classify` and `/v1/embeddings` read it: alone, with what the tokenizer puts round a
document. Of a conversation it is the last thing that the user said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from baigong.model.architecture import read_fields
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import EMPTY, LONG, Encode, Unusable
from baigong.types import Message, Row

NO_NUMBER = "the answer is no number"
# Families that count positions from the one after the padding's, so that two fewer are left.
_SHIFTED = ("roberta", "camembert", "mpnet", "longformer")


class OneLoss(msgspec.Struct, frozen=True, array_like=True):
    """An example of an objective with a head: one loss, and no token goes through an output head."""

    @property
    def counted(self) -> int:
        """One: a loss for each row."""
        return 1

    @property
    def scored(self) -> int:
        return 0


class Labelled(OneLoss, frozen=True):
    """A text as ids, and its label as it is written."""

    ids: list[int]
    label: str

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids)


class Measured(OneLoss, frozen=True):
    """A text as ids, and its number."""

    ids: list[int]
    value: float

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids)


def asked_text(messages: Sequence[Message]) -> str:
    """What a model that only reads is given of a conversation: the last thing that the user said."""
    return next((turn.content for turn in reversed(messages) if turn.role == "user"), "")


def labels_of(base: Path, context: int) -> Encode[Labelled]:
    """Rows as a text and its label.

    Raises (the function that is returned):
        Unusable: there is no text or no label, or the text is longer than `context` tokens.
    """
    read = Reader(base, context)

    def encode_row(row: Row) -> Labelled:
        if not row.answer.strip():
            raise Unusable(EMPTY)
        return Labelled(read(row), row.answer)

    return encode_row


def numbers_of(base: Path, context: int) -> Encode[Measured]:
    """Rows as a text and its number.

    Raises (the function that is returned):
        Unusable: as `labels_of`; also where the answer is no finite number.
    """
    read = Reader(base, context)

    def encode_row(row: Row) -> Measured:
        value = number(row.answer)
        if value is None:
            raise Unusable(NO_NUMBER)
        return Measured(read(row), value)

    return encode_row


def number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class Reader:
    """A base's tokenizer, and how much it may be given."""

    def __init__(self, base: Path, context: int) -> None:
        self.tokenizer = ChatTokenizer(base)
        kind = str(read_fields(base).get("model_type", ""))
        self.most = context - 2 if kind.endswith(_SHIFTED) else context

    def __call__(self, row: Row) -> list[int]:
        """The ids of a row's text."""
        return self.fitting(self.tokenizer.encode_text(asked_text(row.messages), special=True))

    def fitting(self, ids: list[int]) -> list[int]:
        """The ids, if there are any and not too many.

        Raises:
            Unusable: there are none, or more than the context.
        """
        if not ids:
            raise Unusable(EMPTY)
        if len(ids) > self.most:
            raise Unusable(LONG)
        return ids
