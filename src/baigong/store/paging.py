"""A page of rows in the order in which they were made: OpenAI's `after`, `before`, `limit`, `order`."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, or_
from sqlalchemy.sql.elements import ColumnElement

from baigong.errors import InvalidInput


class Cut(msgspec.Struct, frozen=True):
    """Which page: `limit` rows behind the id `after`, or those that lead up to the id `before`."""

    limit: int = 20
    newest_first: bool = True
    after: str | None = None
    before: str | None = None


def cut(
    connection: Connection,
    query: Select[Any],
    made_at: ColumnElement[float],
    id: ColumnElement[str],
    at: Cut,
) -> tuple[list[Row[Any]], bool]:
    """The rows of a page, and whether there are more beyond it.

    Raises:
        InvalidInput: `after` or `before` is no id among the rows.
    """
    backwards = at.before is not None and at.after is None
    falling = at.newest_first != backwards
    for field, cursor, is_before in (("after", at.after, False), ("before", at.before, True)):
        if cursor is not None:
            falls = at.newest_first != is_before
            found = _place(connection, query, made_at, id, cursor, field)
            query = query.where(_beyond(made_at, id, found, cursor, falls))
    order = (made_at.desc(), id.desc()) if falling else (made_at.asc(), id.asc())
    rows = list(connection.execute(query.order_by(*order).limit(at.limit + 1)).all())
    has_more = len(rows) > at.limit
    rows = rows[: at.limit]
    return (rows[::-1] if backwards else rows), has_more


def _place(
    connection: Connection,
    query: Select[Any],
    made_at: ColumnElement[float],
    id: ColumnElement[str],
    cursor: str,
    field: str,
) -> float:
    found = connection.execute(query.with_only_columns(made_at).where(id == cursor)).scalar()
    if found is None:
        raise InvalidInput(
            f"{field}: there is no '{cursor[:80]}' in this list.",
            hint="Use an id of the page before.",
            param=field,
        )
    return float(found)


def _beyond(
    made_at: ColumnElement[float],
    id: ColumnElement[str],
    place: float,
    cursor: str,
    falls: bool,
) -> ColumnElement[bool]:
    if falls:
        return or_(made_at < place, and_(made_at == place, id < cursor))
    return or_(made_at > place, and_(made_at == place, id > cursor))
