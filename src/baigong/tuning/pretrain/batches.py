"""Packed rows of text and tasks; where the next batch starts is three counters."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from baigong.tuning.pretrain.corpus import Corpus
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe
from baigong.tuning.pretrain.structure import DEFAULT_KINDS, Example, Material, make_example
from baigong.tuning.pretrain.tokenizer import END_OF_TEXT, token_id

Ids = NDArray[np.uint16]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_ENCODE_AT_ONCE = 256


@dataclass
class Position:
    """All that a resumed run needs to see the text it would have seen."""

    en: int = 0
    zh: int = 0
    example: int = 0


@dataclass(frozen=True)
class Batch:
    """`segments` numbers the documents of a row: a token sees only its own."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    segments: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Batch:
        return cls(
            np.stack([row.ids for row in rows]),
            np.stack([row.targets for row in rows]),
            np.stack([row.weights for row in rows]),
            np.stack([row.segments for row in rows]),
            np.stack([row.positions for row in rows]),
        )

    @property
    def num_tokens(self) -> int:
        return int(self.inputs.size)


@dataclass(frozen=True)
class Streams:
    """The training text of each language as one long row of ids, documents ended by a mark."""

    ids: Mapping[Language, Ids]

    def take(self, language: Language, position: Position, count: int) -> Ids:
        """The next ids; the stream begins again when it ends."""
        ids = self.ids[language]
        start = getattr(position, language)
        setattr(position, language, start + count)
        return np.take(ids, range(start, start + count), mode="wrap")


def encode_streams(tokenizer: Tokenizer, corpus: Corpus, folder: Path) -> Streams:
    """Encoded once and kept beside the checkpoints."""
    streams: dict[Language, Ids] = {}
    for language in LANGUAGES:
        path = folder / f"{language}.npy"
        if not path.is_file():
            texts = [document.text for document in corpus.documents[language]]
            partial = path.with_suffix(".partial.npy")
            np.save(partial, encode_texts(tokenizer, texts))
            partial.replace(path)
        streams[language] = np.load(path, mmap_mode="r")
    return Streams(streams)


def text_shares(streams: Streams, corpus: Corpus, position: Position, end: int) -> dict[str, float]:
    """What part of the text read so far came from each source; a card lists it."""
    counts: dict[str, int] = {}
    for language in LANGUAGES:
        ids, documents = streams.ids[language], corpus.documents[language]
        ends = np.flatnonzero(np.asarray(ids) == end) + 1
        lengths = np.diff(ends, prepend=0)
        laps, rest = divmod(getattr(position, language), max(1, len(ids)))
        read = laps * lengths + np.clip(rest - (ends - lengths), 0, lengths)
        for document, count in zip(documents, read.tolist(), strict=True):
            counts[document.source] = counts.get(document.source, 0) + count
    total = max(1, sum(counts.values()))
    return {name: round(count / total, 5) for name, count in counts.items() if count}


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> Ids:
    """Two bytes an id: the recipe's vocabulary stays below 65,536."""
    end = token_id(tokenizer, END_OF_TEXT)
    parts: list[Ids] = []
    for start in range(0, len(texts), _ENCODE_AT_ONCE):
        encodings = tokenizer.encode_batch_fast(texts[start : start + _ENCODE_AT_ONCE])
        parts.extend(np.array([*encoding.ids, end], dtype=np.uint16) for encoding in encodings)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint16)


class Row:
    """One row while it fills. Lengths count inputs; every piece also has its own target ids."""

    def __init__(self, length: int) -> None:
        self.ids = np.zeros(length, np.int64)
        self.targets = np.zeros(length, np.int64)
        self.weights = np.zeros(length, np.float32)
        self.segments = np.zeros(length, np.int64)
        self.positions = np.zeros(length, np.int64)
        self.filled = 0
        self.segment = 0

    @property
    def room(self) -> int:
        return len(self.ids) - self.filled

    def add(self, ids: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """`weights[i]` weighs the prediction of ids[i]; the first id of a piece is never one."""
        here = slice(self.filled, self.filled + len(ids))
        self.ids[here] = ids
        self.targets[here][:-1] = ids[1:]
        self.weights[here][:-1] = weights[1:]
        self.segments[here] = self.segment
        self.positions[here] = np.arange(len(ids))
        self.filled += len(ids)
        self.segment += 1


class Batcher:
    def __init__(
        self, recipe: PretrainRecipe, tokenizer: Tokenizer, streams: Streams, stuff: Material
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.streams = streams
        self.stuff = stuff
        self.end = token_id(tokenizer, END_OF_TEXT)

    def next(self, position: Position, step: int, sequence: int, fraction: float = 1.0) -> Batch:
        """Which rows are tasks depends on the seed and the step alone. Advances `position`."""
        kinds = kinds_at(self.recipe, fraction)
        mix, rows = self.recipe.mix, []
        chance = random.Random(f"rows:{self.recipe.seed}:{step}")
        count = max(1, self.recipe.schedule.batch_tokens // sequence)
        for number in range(count):
            row = Row(sequence)
            # Spread evenly, so that every batch has its share and neither language runs ahead.
            if (number + chance.random()) / count < mix.structure:
                self._fill_with_tasks(row, position, kinds)
            self._fill_with_text(row, position, "en" if (number + step) % 2 else "zh")
            rows.append(row)
        return Batch.of(rows)

    def _fill_with_tasks(self, row: Row, position: Position, kinds: Mapping[str, float]) -> None:
        """Whole examples only; the first that does not fit ends the row and is left out."""
        size = len(row.ids) / self.recipe.schedule.sequence  # longer rows, longer passages
        while True:
            example = make_example(self.stuff, kinds, self.recipe.seed, position.example, size)
            position.example += 1
            ids, weights = encode_example(self.tokenizer, example, self.recipe)
            if len(ids) > row.room:
                return
            row.add(ids, weights)

    def _fill_with_text(self, row: Row, position: Position, language: Language) -> None:
        if row.room < 2:
            return
        ids = self.streams.take(language, position, row.room).astype(np.int64)
        for piece in np.split(ids, np.flatnonzero(ids == self.end) + 1):
            if len(piece):
                row.add(piece, np.ones(len(piece), np.float32))


def kinds_at(recipe: PretrainRecipe, fraction: float) -> Mapping[str, float]:
    """The weights of the kinds; early on, copying comes before what is made of it."""
    mix = recipe.mix
    kinds = dict(mix.kinds or DEFAULT_KINDS)
    if fraction >= mix.drill_until:
        return kinds
    others = sum(weight for kind, weight in kinds.items() if kind != "copy")
    return {**kinds, "copy": others * mix.drill / max(1e-9, 1 - mix.drill)}


def encode_example(
    tokenizer: Tokenizer, example: Example, recipe: PretrainRecipe
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The answer and its end mark weigh fully, the prompt a little."""
    prompt = tokenizer.encode(example.prompt).ids
    answer = tokenizer.encode(example.answer).ids
    tail = tokenizer.encode("\n").ids
    mix = recipe.mix
    answer_weight = mix.answer_weight * max(1.0, mix.answer_floor / len(answer))
    weights = (
        [mix.prompt_weight] * len(prompt)
        + [answer_weight] * len(answer)
        + [mix.prompt_weight] * len(tail)
    )
    return np.array(prompt + answer + tail, np.int64), np.array(weights, np.float32)
