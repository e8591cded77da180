"""Which pairs meet in which step, as sparse counts of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tokenizers import Tokenizer

from baigong.tuning.embedder.pairs import Pair
from baigong.tuning.embedder.plan import Plan

_AT_ONCE = 4096  # texts given to the tokenizer

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """All texts of one side: their tokens behind each other, where each begins, which are equal."""

    ids: NDArray[np.int32]
    offsets: Ints
    keys: Ints

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer, longest: int) -> Texts:
        parts: list[NDArray[np.int32]] = []
        for at in range(0, len(texts), _AT_ONCE):
            found = tokenizer.encode_batch_fast(list(texts[at : at + _AT_ONCE]))
            parts += [np.array(one.ids[:longest], np.int32) for one in found]
        numbers: dict[str, int] = {}
        keys = [numbers.setdefault(text, len(numbers)) for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return cls(np.concatenate(parts), offsets.astype(np.int64), np.array(keys))

    def counts(self, rows: Ints, keep: float, rng: np.random.Generator, vocabulary: int) -> Any:
        """(rows, vocabulary) in CSR: how much of each text is each token; `keep` of them stay."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) + np.repeat(self.offsets[rows] - starts[:-1], lengths)
        stays = (rng.random(len(places), np.float32) < keep).astype(np.float32)
        shares = stays / np.repeat(np.maximum(lengths, 1), lengths).astype(np.float32)
        counts = sparse.csr_array((shares, self.ids[places], starts), shape=(len(rows), vocabulary))
        return counts


def order(pairs: Sequence[Pair], plan: Plan, epoch: int) -> Ints:
    """The pairs of one epoch as (steps, batch); what does not fill a batch waits for the next.

    Groups of neighbours are of one source, so that part of the wrong answers are hard.
    """
    rng = np.random.default_rng([plan.seed, epoch])
    by_source: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs):
        by_source.setdefault(pair.source, []).extend([number] * pair.weight)
    batch = min(plan.batch, sum(map(len, by_source.values())))
    group = max(1, min(plan.group, batch))
    mixed = [rng.permutation(np.array(rows)) for rows in by_source.values()]
    groups = [rows[at : at + group] for rows in mixed for at in range(0, len(rows), group)]
    line = np.concatenate([groups[number] for number in rng.permutation(len(groups))])
    steps = len(line) // batch
    return line[: steps * batch].reshape(steps, batch)
