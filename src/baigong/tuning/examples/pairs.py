"""Rows that pair a query with a text that answers it, as ids: each alone for vectors, together for a cross-encoder."""

from __future__ import annotations

from pathlib import Path

from baigong.errors import InvalidInput
from baigong.model.chat import ChatTokenizer
from baigong.model.vectors import Vectors, longest_text
from baigong.tuning.examples.labelled import OneLoss, Reader, asked_text
from baigong.tuning.examples.rows import EMPTY, Encode, Unusable
from baigong.types import Row

_MODES = ("mean", "cls", "lasttoken")  # of pooling, that can be tuned
OTHERS = 3  # texts of other rows that a cross-encoder reads beside a query's own


class Matched(OneLoss, frozen=True):
    """A query and the text that answers it, as ids; `negative` only seems to, and may be empty."""

    query: list[int]
    positive: list[int]
    negative: list[int]

    @property
    def length(self) -> int:
        """In tokens, all texts together."""
        return len(self.query) + len(self.positive) + len(self.negative)


class Joined(OneLoss, frozen=True):
    """A query's texts for a model that reads both at once: as text, for any may stand beside any query.

    `longest` is the length of the query with its own texts, in tokens.
    """

    query: str
    positive: str
    negative: str
    longest: int

    @property
    def length(self) -> int:
        """In tokens, of all the pairs that it is read in."""
        return (1 + bool(self.negative) + OTHERS) * self.longest


def matched_of(base: Path, context: int) -> Encode[Matched]:
    """Rows as ids of each text alone; texts that are too long are cut, as documents are for search.

    Raises:
        InvalidInput: as `pooling_mode`.

    Raises (the function that is returned):
        Unusable: the query or the positive is empty.
    """
    pooling_mode(base)
    reader = Reader(base, context)
    most = min(reader.most, longest_text(base) or reader.most)

    def ids(text: str) -> list[int]:
        return reader.tokenizer.fitting(text, most)

    def encode_row(row: Row) -> Matched:
        query, positive, negative = _texts(row)
        return Matched(ids(query), ids(positive), ids(negative) if negative else [])

    return encode_row


def joined_of(base: Path, context: int) -> Encode[Joined]:
    """Rows as texts to be read in pairs.

    Raises (the function that is returned):
        Unusable: the query or the positive is empty.
    """
    reader = Reader(base, context)

    def encode_row(row: Row) -> Joined:
        query, positive, negative = _texts(row)
        read = [
            fitting_pair(reader.tokenizer, query, text, reader.most)[0]
            for text in (positive, negative)
        ]
        return Joined(query, positive, negative, max(map(len, read)))

    return encode_row


def pooling_mode(base: Path) -> str:
    """How a base's states become a vector, as its sentence-transformers files say; the mean without them.

    Raises:
        InvalidInput: it has layers after pooling, or pools otherwise.
    """
    vectors = Vectors.read(base)
    if len(vectors.modes) > 1 or vectors.layers or vectors.modes[0] not in _MODES:
        raise InvalidInput(
            f"{base.name} makes vectors by {', '.join(vectors.modes)} with {len(vectors.layers)} layers.",
            hint=f"Tune one that pools by {', '.join(_MODES)} and has no layers after it.",
            param="base",
        )
    return vectors.modes[0]


def fitting_pair(
    tokenizer: ChatTokenizer, query: str, text: str, most: int
) -> tuple[list[int], int]:
    """Ids of both, the text cut where they are too long, and the place where it begins.

    Raises:
        Unusable: the query alone is too long.
    """
    pair = tokenizer.fitting_pair(query, text, most)
    if len(pair[0]) > most:
        raise Unusable("the query is longer than the model's context")
    return pair


def _texts(row: Row) -> tuple[str, str, str]:
    """Query, positive and negative, which may be empty."""
    query, positive = asked_text(row.messages), row.answer
    if not query.strip() or not positive.strip():
        raise Unusable(EMPTY)
    return query, positive, row.rejected if isinstance(row.rejected, str) else ""
