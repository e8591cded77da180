"""Rows become token ids here, through the tokenizer and template that will serve the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from baigong.errors import DataProblems, InvalidInput, Problem
from baigong.hub.chat import ChatTokenizer
from baigong.types import Message, Row

_LONG = "longer than the model's context"
_EMPTY = "empty answer"
_BUCKET = 32  # batches that are sorted by length together
_VALIDATION_ROWS = 256  # more would cost time and say little more


class Example(msgspec.Struct, frozen=True, array_like=True):
    """One row as ids: the model learns to produce `ids[start:]` after `ids[:start]`."""

    ids: list[int]
    start: int


class Prepared(msgspec.Struct, frozen=True):
    """The rows of a run as ids. `dropped` counts the training rows left out, by reason."""

    train: list[Example]
    validation: list[Example]
    dropped: dict[str, int]

    @property
    def tokens(self) -> int:
        """In the training examples, once through."""
        return sum(len(example.ids) for example in self.train)

    @property
    def answer_tokens(self) -> int:
        return sum(len(example.ids) - example.start for example in self.train)

    @property
    def longest(self) -> int:
        return max(len(example.ids) for example in [*self.train, *self.validation])


def read_rows(source: Path | Sequence[Row]) -> list[Row]:
    """Rows from a JSONL file, or as given.

    Raises:
        DataProblems: lines that are no Row, each with its number.
    """
    if not isinstance(source, Path):
        return list(source)
    rows: list[Row] = []
    problems: list[Problem] = []
    decoder = msgspec.json.Decoder(Row)
    for number, line in enumerate(source.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            problems.append(Problem(source.name, number, "", str(error)))
    if problems:
        raise DataProblems(problems, hint="Every line must be a prepared row.")
    return rows


def prepare(rows: Sequence[Row], tokenizer: ChatTokenizer, context: int) -> Prepared:
    """Token ids of the training rows and of some validation rows; test rows are not looked at.

    Raises:
        InvalidInput: no training row is left.
    """
    dropped: dict[str, int] = {}
    splits: dict[str, list[Example]] = {"train": [], "validation": []}
    # By id, a content hash: the same rows in another order are the same run, and the first
    # validation rows are a fair sample of them.
    for row in sorted(rows, key=lambda row: row.id):
        kept = splits.get(row.split)
        if kept is None or (row.split == "validation" and len(kept) == _VALIDATION_ROWS):
            continue
        example = encode(row, tokenizer)
        why = _unusable(row, example, context)
        if why is None:
            kept.append(example)
        elif row.split == "train":
            dropped[why] = dropped.get(why, 0) + 1
    if not splits["train"]:
        reasons = "; ".join(f"{count} rows: {why}" for why, count in dropped.items())
        raise InvalidInput(f"There are no rows to train on. {reasons}".strip(), param="rows")
    return Prepared(splits["train"], splits["validation"], dropped)


def encode(row: Row, tokenizer: ChatTokenizer) -> Example:
    """The row's ids, cut after its answer: what follows is never the model's to produce."""
    encoded = tokenizer.encode_training([*row.messages, Message("assistant", row.answer)])
    stop = len(encoded.ids)
    while stop and not encoded.is_answer[stop - 1]:
        stop -= 1
    start = stop
    while start and encoded.is_answer[start - 1]:
        start -= 1
    return Example(encoded.ids[:stop], start)


def _unusable(row: Row, example: Example, context: int) -> str | None:
    if not row.answer.strip() or example.start == len(example.ids) or example.start == 0:
        return _EMPTY
    return _LONG if len(example.ids) > context else None


def batches(lengths: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Indices of the rows of each step, for ever: a new random order every epoch.

    Rows of like length share a batch, so that little is padded. The order depends on `seed` and
    the epoch only, so that a run that resumes at any step can skip to it.
    """
    epoch = 0
    while True:
        random = Random(f"{seed}/{epoch}")
        order = random.sample(range(len(lengths)), len(lengths))
        bucket = size * _BUCKET
        near = [
            sorted(order[at : at + bucket], key=lengths.__getitem__)
            for at in range(0, len(order), bucket)
        ]
        flat = [index for indices in near for index in indices]
        cut = [flat[at : at + size] for at in range(0, len(flat), size)]
        yield from random.sample(cut, len(cut))
        epoch += 1
