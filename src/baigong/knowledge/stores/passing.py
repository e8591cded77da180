"""Which rows of a table in memory a search may find: stores.sql said in Arrow instead of SQL."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.stores.port import Scope
from baigong.knowledge.stores.rows import by_column, plain, reader_marks
from baigong.knowledge.where import Both, Compare, Scalar, Where

if TYPE_CHECKING:
    import pyarrow as pa

Mask = NDArray[np.bool_]

_ORDER = {"gt": "greater", "gte": "greater_equal", "lt": "less", "lte": "less_equal"}


def passing(scope: Scope, rows: pa.Table) -> Mask:
    """(rows,) whether each may be found. Every column of `rows` is one piece."""
    masks = []
    if scope.readers is not None:
        masks.append(_any_of(rows["access"].chunk(0), reader_marks(scope.readers)))
    if scope.now is not None:
        masks.append(_numbers(rows, "expires_at") > plain(scope.now))
    if scope.as_of is not None:
        masks.append(_numbers(rows, "published_at") <= plain(scope.as_of))
    if scope.without:
        masks.append(~np.isin(_numbers(rows, "document"), np.array(scope.without)))
    if scope.where is not None:
        masks.append(_where(scope.where, rows))
    return reduce(np.logical_and, masks, np.ones(len(rows), bool))


def _numbers(rows: pa.Table, name: str) -> NDArray[Any]:
    found: NDArray[Any] = rows[name].chunk(0).to_numpy()
    return found


def _any_of(lists: pa.ListArray, marks: list[str]) -> Mask:
    """Whether a list holds one of the marks."""
    counts = np.concatenate([[0], np.cumsum(_among(lists.values, marks))])
    ends: NDArray[np.int32] = lists.offsets.to_numpy()
    found: Mask = counts[ends[1:]] > counts[ends[:-1]]
    return found


def _where(where: Where, rows: pa.Table) -> Mask:
    if isinstance(where, Both):
        either = np.logical_or if where.either else np.logical_and
        return reduce(either, (_where(part, rows) for part in where.parts))
    return _compare(where, rows)


def _compare(compare: Compare, rows: pa.Table) -> Mask:
    import pyarrow.compute as pc  # noqa: PLC0415

    names = set(rows.column_names)
    held = {name: values for name, values in by_column(compare).items() if name in names}
    none = np.zeros(len(rows), bool)
    if compare.op in _ORDER:
        for name, (value,) in held.items():
            return _known(pc.call_function(_ORDER[compare.op], [rows[name].chunk(0), value]))
        return none
    found = reduce(
        np.logical_or, (_among(rows[name].chunk(0), v) for name, v in held.items()), none
    )
    return found if compare.op in {"eq", "in"} else ~found


def _among(values: pa.Array, wanted: list[Scalar] | list[str]) -> Mask:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if len(wanted) == 1:
        return _known(pc.equal(values, pa.scalar(wanted[0], values.type)))
    return _known(pc.is_in(values, pa.array(wanted, values.type)))


def _known(mask: pa.Array) -> Mask:
    """What is not there passes nothing."""
    found: Mask = mask.fill_null(False).to_numpy(zero_copy_only=False)
    return found
