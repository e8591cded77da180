"""Reinforcement as OpenAI's clients write it: rows that end with a question, graded against a field.

Here a row always has the answer wanted. So the field that a grader's `{{item.FIELD}}` names becomes
the answer of every row, and the grader's `{{item.answer}}`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from baigong.errors import InvalidInput
from baigong.graders import WANTED, read_grader

PARAM = "method.reinforcement.grader"
_ITEM = re.compile(r"\{\{\s*item\.([\w.]+)\s*\}\}")


def wanted_field(grader: dict[str, Any]) -> str | None:
    """The field of a row that the grader holds an answer against, if there is one.

    Raises:
        InvalidInput: there are several.
    """
    found = sorted(set(_ITEM.findall(msgspec.json.encode(grader).decode())))
    if len(found) > 1:
        raise InvalidInput(
            f"The grader reads several fields of an item: {', '.join(found)}.",
            hint="Have it read one.",
            param=PARAM,
        )
    return found[0] if found else None


def own_grader(grader: dict[str, Any]) -> dict[str, Any]:
    """The grader with the answer in the place of that field.

    Raises:
        InvalidInput: it is of a kind that is not here, or reads several fields.
    """
    wanted_field(grader)
    text = _ITEM.sub(WANTED, msgspec.json.encode(grader).decode())
    found: dict[str, Any] = msgspec.json.decode(text)
    read_grader(found, PARAM)
    return found


def put_answers(rows: Path, field: str) -> None:
    """Close every conversation of a file with what stands in its field; other lines stay as they are."""
    lines = rows.read_bytes().split(b"\n")
    rows.write_bytes(b"\n".join(_answered(line, field) for line in lines))


def _answered(line: bytes, field: str) -> bytes:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line  # reading the rows names it
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list) or field not in row:
        return line
    value = row[field]
    content = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    turns = [*row["messages"], {"role": "assistant", "content": content}]
    return msgspec.json.encode({"messages": turns})
