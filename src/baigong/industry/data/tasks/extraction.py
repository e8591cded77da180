"""Rows that ask for the fields of a text, as JSON of a schema."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from baigong.industry.data.cells import Cells, Draft, json_cell
from baigong.industry.recipe import Recipe


def extraction(cells: Cells) -> Draft:
    text = cells.text("text")
    schema = cells.recipe.answer_schema or {}
    field = object_field(cells.recipe, cells.table.columns)
    if field is None:
        value: Any = dict(_columns(cells, schema))
    else:
        value = json_cell(cells, field)
        if not isinstance(value, dict):
            cells.bad(field, "expected an object with the fields")
    if not cells.is_good:
        return Draft((), "", "")
    value = in_order(value, schema)
    for error in Draft202012Validator(schema).iter_errors(value):
        where = ".".join(str(part) for part in error.absolute_path)
        cells.bad(field or where or "text", f"{where}: {error.message[:200]}".lstrip(": "))
    return Draft(cells.prompt(text), _canonical(cells, field, value), text)


def object_field(recipe: Recipe, columns: Mapping[str, None]) -> str | None:
    """The field whose column holds the whole object; None if each property has a column."""
    if "answer" in recipe.data.columns:
        return "answer"
    properties = (recipe.answer_schema or {}).get("properties", {})
    names = (name for name in ("answer", "output") if name in columns and name not in properties)
    return next(names, None)


def _columns(cells: Cells, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each property from its column; an empty cell is a property that is not there."""
    for name, spec in schema["properties"].items():
        value = cells.value(name)
        if isinstance(value, str):
            value = _typed(value.strip(), spec.get("type") if isinstance(spec, Mapping) else None)
        if value is not None and value != "":
            yield name, value


def _typed(text: str, types: Any) -> Any:
    """A CSV cell is text; the schema says what it means. What does not parse stays text and fails there."""
    wanted = {types} if isinstance(types, str) else set(types or ())
    if not text or not wanted or "string" in wanted:
        return text
    try:
        value = json.loads(text.lower() if wanted & {"boolean"} else text)
    except (ValueError, RecursionError):
        return text
    return value


def _canonical(cells: Cells, field: str | None, value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError) as error:
        cells.bad(field or "text", f"cannot be written as JSON: {error}")
        return ""
    return cells.checked(field or "text", text)


def in_order(value: Any, schema: Any) -> Any:
    """The value with its keys in the schema's order, others after them by name: one answer, one text."""
    spec = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Mapping):
        properties = spec.get("properties", {})
        names = [name for name in properties if name in value]
        names += sorted(name for name in value if name not in properties)
        return {name: in_order(value[name], properties.get(name)) for name in names}
    if isinstance(value, list):
        return [in_order(item, spec.get("items")) for item in value]
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    return value


def extraction_fields(recipe: Recipe, columns: Mapping[str, None]) -> tuple[str, ...]:
    field = object_field(recipe, columns)
    if field is not None:
        return ("text", field)
    schema = recipe.answer_schema or {}
    return ("text", *schema.get("required", schema.get("properties", {})))
