"""Rows become token ids here, through the tokenizer and template that will serve the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Generic, Protocol, TypeVar

import msgspec

from baigong.errors import DataProblems, InvalidInput, Problem
from baigong.model.chat import ChatTokenizer
from baigong.types import Message, Row

LONG = "longer than the model's context"
EMPTY = "empty answer"
_BUCKET = 32  # batches that are sorted by length together


class Example(msgspec.Struct, frozen=True, array_like=True):
    """One row as ids: the model learns to produce `ids[start:]` after `ids[:start]`.

    `earlier` are the spans of the assistant's turns before that, which are learnt as well.
    """

    ids: list[int]
    start: int
    earlier: list[tuple[int, int]] = []

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.ids)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """What is learnt, as places in `ids`."""
        return [*self.earlier, (self.start, len(self.ids))]

    @property
    def counted(self) -> int:
        """Over how many things its loss is summed: its answer tokens."""
        return sum(stop - start for start, stop in self.spans)

    @property
    def scored(self) -> int:
        """Tokens whose logits are worked out."""
        return self.counted


class Exemplar(Protocol):
    """What a row becomes, whatever the objective: something of a length that a loss is summed over.

    `scored` tokens of it go through the output head.
    """

    @property
    def length(self) -> int: ...
    @property
    def counted(self) -> int: ...
    @property
    def scored(self) -> int: ...


E = TypeVar("E", bound=Exemplar)


class Prepared(msgspec.Struct, Generic[E], frozen=True):
    """The rows of a run as ids. `dropped` counts the training rows left out, by reason."""

    train: list[E]
    validation: list[E]
    dropped: dict[str, int]

    @property
    def tokens(self) -> int:
        """In the training examples, once through."""
        return sum(example.length for example in self.train)

    @property
    def counted(self) -> int:
        """What the loss of one pass is summed over, e.g. answer tokens."""
        return sum(example.counted for example in self.train)

    @property
    def scored(self) -> int:
        """Tokens of one pass whose logits are worked out."""
        return sum(example.scored for example in self.train)

    @property
    def longest(self) -> int:
        return max(example.length for example in [*self.train, *self.validation])


class Unusable(Exception):
    """A row that cannot be trained on; its text is the reason by which such rows are counted."""


Encode = Callable[[Row], E]


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


def prepare(rows: Sequence[Row], encode_row: Encode[E]) -> Prepared[E]:
    """Examples of the training rows and of validation rows; test rows are not looked at.

    Raises:
        InvalidInput: no training row is left.
    """
    dropped: dict[str, int] = {}
    splits: dict[str, list[E]] = {"train": [], "validation": []}
    # By id, a content hash: the same rows in another order are the same run, and the first
    # validation rows are a fair sample of them where evaluations have no time for all.
    for row in sorted(rows, key=lambda row: row.id):
        kept = splits.get(row.split)
        if kept is None:
            continue
        try:
            kept.append(encode_row(row))
        except Unusable as why:
            if row.split == "train":
                dropped[str(why)] = dropped.get(str(why), 0) + 1
    if not splits["train"]:
        reasons = "; ".join(f"{count} rows: {why}" for why, count in dropped.items())
        raise InvalidInput(f"There are no rows to train on. {reasons}".strip(), param="rows")
    return Prepared(splits["train"], splits["validation"], dropped)


def answers_of(base: Path, context: int) -> Encode[Example]:
    """Rows as conversations whose answers are learnt, by the template of a base.

    Raises (the function that is returned):
        Unusable: there is no answer, or the row is longer than `context` tokens.
    """
    tokenizer = ChatTokenizer(base)

    def encode_row(row: Row) -> Example:
        example = encode(row, tokenizer)
        if not row.answer.strip() or example.start == example.length or example.start == 0:
            raise Unusable(EMPTY)
        if example.length > context:
            raise Unusable(LONG)
        return example

    return encode_row


def encode(row: Row, tokenizer: ChatTokenizer) -> Example:
    """The row's ids, cut after its answer: what follows is never the model's to produce."""
    turns = [*row.messages, Message("assistant", row.answer)]
    encoded = tokenizer.encode_training(turns, unlearnt=row.unlearnt or ())
    spans = _runs(encoded.is_answer)
    if not spans:
        return Example(encoded.ids, len(encoded.ids))
    *earlier, (start, stop) = spans
    return Example(encoded.ids[:stop], start, earlier)


def _runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """The spans of places in a row that are true."""
    spans, at = [], 0
    for is_set, group in groupby(flags):
        stop = at + len(list(group))
        if is_set:
            spans.append((at, stop))
        at = stop
    return spans


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
