"""One record of a file, read by the fields of a task."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from baigong.industry.data.tables import Record, Table
from baigong.industry.recipe import Recipe
from baigong.industry.yaml_lines import UNUSABLE
from baigong.types import Message


class Draft(NamedTuple):
    """A row before it has an id and a split. `prompt` is what the user says, without the persona."""

    messages: tuple[Message, ...]
    answer: str
    prompt: str
    document: str | None = None
    rejected: str | UnsetType = UNSET
    is_good: bool | UnsetType = UNSET
    unlearnt: tuple[int, ...] = ()


class Cells:
    """The cells of one record by the task's fields; what is wrong with them goes to the table."""

    def __init__(self, table: Table, record: Record, recipe: Recipe) -> None:
        self.table = table
        self.record = record
        self.recipe = recipe
        self.is_good = True

    def bad(self, field: str, message: str) -> None:
        """Notes a mistake in the column that holds a field."""
        self.is_good = False
        self.table.bad(self.record.line, message, self.column(field))

    def column(self, field: str) -> str:
        """The column that holds a field of the task."""
        return self.recipe.data.columns.get(field, field)

    def has(self, field: str) -> bool:
        """Whether the file has the field's column at all."""
        return self.column(field) in self.table.columns

    def value(self, field: str) -> Any:
        """What the cell holds; NaN, which is how some tools write nothing, as None."""
        value = self.record.values.get(self.column(field))
        return None if isinstance(value, float) and math.isnan(value) else value

    def text(self, field: str, *, required: bool = True) -> str:
        """The cell as text without space round it; "" if it is empty, a problem if it must not be."""
        value = self.value(field)
        if isinstance(value, dict | list | bytes):
            self.bad(field, f"text expected, got {type(value).__name__}")
            return ""
        text = _plain(value)
        if required and not text:
            self.bad(field, "empty")
        return self.checked(field, text)

    def checked(self, field: str, text: str) -> str:
        """The text, if a model can be given it."""
        found = UNUSABLE.search(text)
        if found is None:
            return text
        if found[0] in {"\ue0f0", "\ue0f1"}:
            self.bad(field, "holds a reserved private-use character (U+E0F0 or U+E0F1); remove it")
        else:
            self.bad(field, "holds half a character (a lone surrogate); mend the file's encoding")
        return ""

    def prompt(self, text: str) -> tuple[Message, ...]:
        """The text as the user's turn, after the recipe's persona."""
        persona = self.recipe.persona.strip()
        system = (Message("system", persona),) if persona else ()
        return (*system, Message("user", text))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    return str(value).strip()


def json_cell(cells: Cells, field: str) -> Any:
    """A value that JSONL and Parquet hold as it is, and CSV as JSON text."""
    value = cells.value(field)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
