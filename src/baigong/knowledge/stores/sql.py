"""What a search may find, as a condition in SQL over the columns of a table of chunks."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from baigong.knowledge.stores.port import Scope
from baigong.knowledge.stores.rows import by_column, plain, reader_marks
from baigong.knowledge.where import Both, Compare, Scalar, Where

_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def condition(scope: Scope, columns: Collection[str]) -> str | None:
    """The condition for a table that has these columns; None where everything may be found.

    A chunk that never expires does so at infinity there, one of no known date came before all.
    """
    parts = []
    if scope.readers is not None:
        marks = ", ".join(_literal(mark) for mark in reader_marks(scope.readers))
        parts.append(f"array_has_any(access, [{marks}])")
    if scope.now is not None:
        parts.append(f"expires_at > {_literal(plain(scope.now))}")
    if scope.as_of is not None:
        parts.append(f"published_at <= {_literal(plain(scope.as_of))}")
    if scope.without:
        parts.append(f"document NOT IN ({_listed(scope.without)})")
    if scope.where is not None:
        parts.append(_where(scope.where, columns))
    return " AND ".join(parts) or None


def columns_of(where: Where) -> set[str]:
    """The columns that it looks at, where they are there."""
    if isinstance(where, Both):
        return set().union(*map(columns_of, where.parts))
    return set(by_column(where))


def of_documents(documents: Iterable[int]) -> str:
    """The condition that a chunk belongs to one of them."""
    return f"document IN ({_listed(documents)})"


def _listed(documents: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in documents)


def _where(where: Where, columns: Collection[str]) -> str:
    if isinstance(where, Both):
        parts = [_where(part, columns) for part in where.parts]
        return f"({(' OR ' if where.either else ' AND ').join(parts)})"
    return _compare(where, columns)


def _compare(compare: Compare, columns: Collection[str]) -> str:
    """Null is in no list and beside no value, so a chunk without the key passes where it is asked."""
    held = {name: values for name, values in by_column(compare).items() if name in columns}
    if compare.op in _SIGNS:
        signs = (f"{name} {_SIGNS[compare.op]} {_literal(held[name][0])}" for name in held)
        return next(signs, "false")
    lists = {name: ", ".join(map(_literal, values)) for name, values in held.items()}
    if compare.op in {"eq", "in"}:
        either = [f"{name} IN ({listed})" for name, listed in lists.items()]
        return f"({' OR '.join(either)})" if either else "false"
    each = [f"({name} IS NULL OR {name} NOT IN ({listed}))" for name, listed in lists.items()]
    return f"({' AND '.join(each)})" if each else "true"


def _literal(value: Scalar) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)
