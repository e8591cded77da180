"""The contrastive loss of two lists of texts, and its gradient, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from baigong.tuning.embedder.table import Floats


def contrast(
    a: Floats, b: Floats, same: NDArray[np.bool_], temperature: float
) -> tuple[float, Floats, Floats]:
    """InfoNCE in both directions: the mean loss, and its gradients by `a` and by `b`.

    Row i of `a` (n, size) and row i of `b` belong together; `same` (n, n) marks others that say the
    same and are no wrong answers.
    """
    count = len(a)
    unit_a, length_a = _unit(a)
    unit_b, length_b = _unit(b)
    # A cosine is at most one, so that one exponential serves rows and columns.
    shares: Floats = unit_a @ unit_b.T
    shares -= 1
    shares /= temperature
    right = shares.diagonal().copy()
    np.exp(shares, out=shares)
    shares[same] = 0
    rows, columns = (np.maximum(shares.sum(axis), 1e-30) for axis in (1, 0))
    loss = float((np.log(rows) + np.log(columns)).mean() / 2 - right.mean())
    shares *= (1 / rows[:, None] + 1 / columns).astype(np.float32)
    shares[np.arange(count), np.arange(count)] -= 2
    shares /= 2 * count * temperature
    return (
        loss,
        _through_unit(shares @ unit_b, unit_a, length_a),
        _through_unit(shares.T @ unit_a, unit_b, length_b),
    )


def _unit(vectors: Floats) -> tuple[Floats, Floats]:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors / lengths, lengths


def _through_unit(gradient: Floats, unit: Floats, length: Any) -> Floats:
    along = np.einsum("ij,ij->i", gradient, unit)[:, None]
    through: Floats = (gradient - along * unit) / length
    return through
