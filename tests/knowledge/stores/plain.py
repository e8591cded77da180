"""The port once more, as plainly as it can be said: lists, loops and no index."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.stores.port import ChunkRow, Scope
from baigong.knowledge.where import Both, Compare, Scalar, Where

_COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


class PlainChunks:
    """What a store must find, as sets of `(document, start)`."""

    def __init__(self) -> None:
        self.rows: list[ChunkRow] = []

    def replace(self, documents: Collection[int], rows: Sequence[ChunkRow]) -> None:
        self.rows = [row for row in self.rows if row.document not in documents] + list(rows)

    def within(self, scope: Scope) -> list[ChunkRow]:
        return [row for row in self.rows if may_find(row, scope)]

    def words(self, terms: Iterable[str], scope: Scope) -> set[tuple[int, int]]:
        wanted = set(terms)
        found = (row for row in self.within(scope) if wanted & set(row.terms.split()))
        return {(row.document, row.start) for row in found}

    def cosines(self, vector: NDArray[np.float32], scope: Scope) -> list[tuple[float, int, int]]:
        rows = self.within(scope)
        scored = [(float(np.dot(row.vector, vector)), row.document, row.start) for row in rows]
        return sorted(scored, reverse=True)


def may_find(row: ChunkRow, scope: Scope) -> bool:
    if row.document in scope.without:
        return False
    if scope.now is not None and row.expires_at is not None and row.expires_at <= scope.now:
        return False
    if scope.as_of is not None and row.published_at is not None and row.published_at > scope.as_of:
        return False
    if (
        scope.readers is not None
        and row.access is not None
        and not set(row.access) & set(scope.readers)
    ):
        return False
    return scope.where is None or passes(row.metadata, scope.where)


def passes(metadata: dict[str, Scalar], where: Where) -> bool:
    if isinstance(where, Both):
        each = [passes(metadata, part) for part in where.parts]
        return any(each) if where.either else all(each)
    return _compares(metadata.get(where.key), where)


def _compares(value: Scalar | None, where: Compare) -> bool:
    values: Any = where.value if isinstance(where.value, tuple) else (where.value,)
    if where.op in _COMPARE:
        return _kind(value) is _kind(values[0]) and bool(_COMPARE[where.op](value, values[0]))
    among = any(_kind(value) is _kind(each) and value == each for each in values)
    return among if where.op in {"eq", "in"} else not among


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
