"""What rows that prefer one answer to another become: pairs of answers, and answers with a verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from baigong.tuning.examples.rows import Encode, Example, Unusable, answers_of
from baigong.types import Row

UNPAIRED = "no rejected answer beside the chosen one"
UNJUDGED = "no verdict on its answer"


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """Two answers to one prompt. `row` is the id by which what was known of it before is found."""

    row: str
    chosen: Example
    rejected: Example

    @property
    def length(self) -> int:
        """In tokens, both together."""
        return self.chosen.length + self.rejected.length

    @property
    def counted(self) -> int:
        """One: pairs of long answers weigh as much as others."""
        return 1

    @property
    def scored(self) -> int:
        """Tokens whose logits are worked out."""
        return self.chosen.scored + self.rejected.scored


class Rated(msgspec.Struct, frozen=True, array_like=True):
    """One answer to a prompt, and whether it is one to give."""

    row: str
    answer: Example
    is_good: bool

    @property
    def length(self) -> int:
        return self.answer.length

    @property
    def counted(self) -> int:
        """One: long answers weigh as much as others."""
        return 1

    @property
    def scored(self) -> int:
        """Tokens whose logits are worked out: its own, and those of a strange answer beside it."""
        return 2 * self.answer.scored


def pairs_of(base: Path, context: int) -> Encode[Pair]:
    """Rows with `rejected` as pairs; of a conversation the last answer alone counts.

    Raises (the function that is returned):
        Unusable: there are not two answers, or one is longer than `context` tokens with its prompt.
    """
    read = _last_of(base, context)

    def encode_row(row: Row) -> Pair:
        if row.rejected is msgspec.UNSET:
            raise Unusable(UNPAIRED)
        return Pair(row.id, read(row), read(msgspec.structs.replace(row, answer=row.rejected)))

    return encode_row


def rated_of(base: Path, context: int) -> Encode[Rated]:
    """Rows with `is_good` as answers with a verdict.

    Raises (the function that is returned):
        Unusable: there is no answer or no verdict, or it is longer than `context` tokens.
    """
    read = _last_of(base, context)

    def encode_row(row: Row) -> Rated:
        if row.is_good is msgspec.UNSET:
            raise Unusable(UNJUDGED)
        return Rated(row.id, read(row), row.is_good)

    return encode_row


def _last_of(base: Path, context: int) -> Callable[[Row], Example]:
    """Rows as examples whose earlier turns are prompt."""
    read = answers_of(base, context)
    return lambda row: msgspec.structs.replace(read(row), earlier=[])
