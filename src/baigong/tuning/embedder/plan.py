"""What an embedder is to be, and how it is learnt."""

from __future__ import annotations

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of the embedder in the package.

    Attributes:
        vocabulary: tokens; as many rows has the table.
        size: floats of a vector.
        batch: pairs in one step; each is told from all the others.
        group: neighbours in a batch that are of one source, so that some of the others are near.
        epochs: how often all pairs are read.
        rate: of a row's first step; it falls in a straight line to zero.
        temperature: of the cosines in the softmax.
        dropout: share of tokens left out, others each time.
        longest: tokens of one text that are read.
        checkpoint_s: seconds between two checkpoints.
    """

    vocabulary: int = 36_000
    size: int = 256
    batch: int = 1024
    group: int = 256
    epochs: int = 3
    rate: float = 1.0
    temperature: float = 0.05
    dropout: float = 0.3
    longest: int = 256
    seed: int = 20261125
    checkpoint_s: float = 60.0
