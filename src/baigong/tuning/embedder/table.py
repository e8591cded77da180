"""The table of token vectors while it is learnt: of a row of its own, and of its letters.

A token's vector is its own row plus the mean of its parts' rows: Han characters and pairs of them,
or three to five letters that lie together. So a rare word starts from what its like have learnt. In
the end the sums alone are kept, and parts cost nothing where the table is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float32]

_SHARED = 3  # tokens that a part must occur in, or it has nothing to pass on
_EPSILON = 1e-8


class Table:
    """Rows of tokens and of parts, each with its sum of squared gradients (row-wise Adagrad)."""

    def __init__(self, tokens: Sequence[str], size: int, seed: int) -> None:
        self.parts = _incidence(tokens)
        rng = np.random.default_rng(seed)
        rows, parts = self.parts.shape
        scale = size**-0.5
        self.state: dict[str, Floats] = {
            "rows": scale * rng.standard_normal((rows, size), np.float32),
            "parts": scale * rng.standard_normal((parts, size), np.float32),
            "rows_seen": np.zeros(rows, np.float32),
            "parts_seen": np.zeros(parts, np.float32),
        }

    def vectors(self, ids: NDArray[np.int64] | None = None) -> Floats:
        """Of the tokens `ids`, or of all: (tokens, size)."""
        if ids is None:
            summed: Floats = self.state["rows"] + self.parts @ self.state["parts"]
            return summed
        some: Floats = self.state["rows"][ids] + self.parts[ids] @ self.state["parts"]
        return some

    def step(self, ids: NDArray[np.int64], gradient: Floats, rate: float) -> None:
        """Move the tokens `ids` against the `gradient` of their vectors."""
        share = self.parts[ids]
        touched = np.unique(share.indices)
        self._descend("parts", touched, share.T.tocsr()[touched] @ gradient, rate)
        self._descend("rows", ids, gradient, rate)

    def _descend(self, name: str, ids: NDArray[Any], gradient: Floats, rate: float) -> None:
        """`gradient` is used up."""
        seen = self.state[f"{name}_seen"]
        seen[ids] += np.einsum("ij,ij->i", gradient, gradient)
        gradient *= (rate / np.sqrt(seen[ids] + _EPSILON))[:, None]
        self.state[name][ids] -= gradient


def _incidence(tokens: Sequence[str]) -> Any:
    """(tokens, parts) in scipy's CSR; a row sums to one, or to nothing for a token without parts."""
    told = [_parts(token) for token in tokens]
    counts = Counter(part for parts in told for part in set(parts))
    numbers = {
        part: number
        for number, part in enumerate(sorted(p for p, count in counts.items() if count >= _SHARED))
    }
    indices, offsets = [], [0]
    for parts in told:
        indices += [numbers[part] for part in parts if part in numbers]
        offsets.append(len(indices))
    lengths = np.diff(offsets)
    data = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    return sparse.csr_array((data, indices, offsets), shape=(len(tokens), max(1, len(numbers))))


def _parts(token: str) -> list[str]:
    if token.startswith("<") or len(token) < 2:
        return [token] if "\u3400" <= token <= "\u9fff" else []
    if "\u3400" <= token[0] <= "\u9fff":
        return [*token, *map("".join, pairwise(token))]
    if not token.isalpha() or len(token) < 4:
        return []
    marked = f"^{token}"
    return [marked[at : at + n] for n in (3, 4, 5) for at in range(len(marked) - n + 1)]
