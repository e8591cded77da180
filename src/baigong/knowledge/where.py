"""Which documents a search may find, by their metadata: the filters of OpenAI's vector stores."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import msgspec

from baigong.errors import InvalidInput

Op = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
Scalar = str | float | bool
_ORDERED = {"gt", "gte", "lt", "lte"}
_LISTED = {"in", "nin"}
MAX_DEPTH = 8


class Compare(msgspec.Struct, frozen=True):
    """`key` beside a value, or beside any of several for `in` and `nin`.

    A document without the key passes `ne` and `nin` alone.
    """

    op: Op
    key: str
    value: Scalar | tuple[Scalar, ...]


class Both(msgspec.Struct, frozen=True):
    """All of them, or with `either` at least one."""

    parts: tuple[Where, ...]
    either: bool = False


Where = Compare | Both


def read_where(filters: Any, param: str = "filters") -> Where:
    """The condition that OpenAI's JSON says: `{"type": "eq", "key": "year", "value": 2026}`.

    Raises:
        InvalidInput: it says none, and where.
    """
    return _read(filters, param, 0)


def _read(value: Any, at: str, depth: int) -> Where:
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        raise InvalidInput(
            f"'{at}' is not a filter.",
            hint='Write {"type": "eq", "key": "year", "value": 2026}, or "and"/"or" of "filters", '
            f"at most {MAX_DEPTH} deep.",
            param=at,
        )
    kind = str(value.get("type"))
    if kind in {"and", "or"}:
        parts = value.get("filters")
        if not isinstance(parts, list) or not parts:
            raise InvalidInput(
                f"'{at}.filters' holds nothing.", hint="Give a list of filters.", param=at
            )
        read = (_read(part, f"{at}.filters[{n}]", depth + 1) for n, part in enumerate(parts))
        return Both(tuple(read), either=kind == "or")
    if kind not in get_args(Op):
        known = ", ".join((*get_args(Op), "and", "or"))
        raise InvalidInput(
            f"'{at}.type' is {kind!r}.", hint=f"Use one of {known}.", param=f"{at}.type"
        )
    key = value.get("key")
    if not isinstance(key, str) or not key:
        raise InvalidInput(
            f"'{at}.key' is {key!r}.", hint="Name a metadata key.", param=f"{at}.key"
        )
    return Compare(cast(Op, kind), key, _value(value.get("value"), kind, f"{at}.value"))


def _value(value: Any, op: str, at: str) -> Scalar | tuple[Scalar, ...]:
    if op in _LISTED:
        if isinstance(value, list) and value and all(_is_scalar(each) for each in value):
            return tuple(_scalar(each) for each in value)
        raise InvalidInput(
            f"'{at}' is {value!r}.", hint="Give a list of texts, numbers or booleans.", param=at
        )
    if not _is_scalar(value) or (op in _ORDERED and isinstance(value, bool)):
        raise InvalidInput(
            f"'{at}' is {value!r}.", hint="Give a text, a number or a boolean.", param=at
        )
    return _scalar(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float)


def _scalar(value: Any) -> Scalar:
    """Whole numbers and others are one kind, so that 2026 equals 2026.0."""
    return value if isinstance(value, str | bool) else float(value)


_TYPED = re.compile(r"\s*([^<>=!]+?)\s*(>=|<=|!=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_SIGNS: dict[str, Op] = {"=": "eq", "!=": "ne", ">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}


def typed_where(texts: Sequence[str], param: str = "where") -> Where | None:
    """All of what a person typed as `year>=2026` or `kind=memo`; None for nothing.

    `=` and `!=` mean a number or true as well as the text that looks like it.

    Raises:
        InvalidInput: a text is no such condition.
    """
    parts = [_typed(text, param) for text in texts]
    return Both(tuple(parts)) if len(parts) > 1 else next(iter(parts), None)


def _typed(text: str, param: str) -> Where:
    match = _TYPED.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"'{text}' is not a condition.",
            hint="Write KEY=VALUE, or !=, >=, <=, > or < in its place.",
            param=param,
        )
    op, meant = _SIGNS[match[2]], _meant(match[3])
    alone = Compare(op, match[1], meant)
    if op in _ORDERED or isinstance(meant, str):
        return alone
    return Both((alone, Compare(op, match[1], match[3])), either=op == "eq")


def _meant(text: str) -> Scalar:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
