"""Rows as others write them, told by their columns and turned into the fields of a task.

OpenAI's {"messages"} is what the task itself reads. To add a format is to add a function and a row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from baigong.industry.data.tables import Record, Table
from baigong.industry.recipe import Recipe

Turns = list[dict[str, Any]]


class Misshapen(Exception):
    """A record that is not what its format says; `field` holds the mistake."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write conversations: the columns that tell it, and how a record becomes turns."""

    name: str
    columns: frozenset[str]
    turns: Callable[[Mapping[str, Any]], Turns]


_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bard", "bing"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("observation", "tool"), "tool"),
}


def share_gpt(values: Mapping[str, Any]) -> Turns:
    """{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", ...}], "system"?}"""
    said = _parsed(values["conversations"])
    if not isinstance(said, list):
        raise Misshapen("conversations", 'a list of {"from": ..., "value": ...} expected')
    turns = _system(values)
    for number, turn in enumerate(said, start=1):
        turn = turn if isinstance(turn, Mapping) else {}
        speaker = turn.get("from", turn.get("role"))
        role = _SPEAKERS.get(str(speaker).lower())
        if role is None:
            allowed = ", ".join(_SPEAKERS)
            raise Misshapen(
                "conversations", f"turn {number}: from is {speaker!r}; allowed {allowed}"
            )
        weight = {"weight": turn["weight"]} if "weight" in turn else {}
        turns.append({"role": role, "content": turn.get("value", turn.get("content")), **weight})
    return turns


def alpaca(values: Mapping[str, Any]) -> Turns:
    """{"instruction", "output", "input"?, "system"?, "history"?: [[question, answer], ...]}"""
    turns = _system(values)
    history = _parsed(values.get("history")) or []
    for number, pair in enumerate(history if isinstance(history, list) else [history], start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Misshapen("history", f"pair {number}: a [question, answer] expected")
        turns += _pair(*pair)
    asked = [_text(values.get(name)) for name in ("instruction", "input")]
    if not any(asked):
        raise Misshapen("instruction", "empty; write what is asked, or remove the row")
    if not _text(values.get("output")):
        raise Misshapen("output", "empty; write the answer, or remove the row")
    return turns + _pair("\n".join(filter(None, asked)), _text(values["output"]))


FORMATS = (
    Format("ShareGPT", frozenset({"conversations"}), share_gpt),
    Format("Alpaca", frozenset({"instruction", "output"}), alpaca),
)


def format_of(columns: Collection[str]) -> Format | None:
    """The format that a file's columns tell."""
    return next((one for one in FORMATS if one.columns <= set(columns)), None)


def shape_table(table: Table, recipe: Recipe) -> None:
    """Has a table of another format hold `messages`, where its recipe asks for a conversation and maps no column."""
    columns = table.columns
    is_plain = "messages" in columns or {"prompt", "answer"} <= columns.keys()
    if recipe.task != "chat" or recipe.data.columns or is_plain:
        return
    found = format_of(columns)
    if found is None:
        return
    records, table.records = table.records, []
    for record in records:
        try:
            turns = found.turns(record.values)
        except Misshapen as error:
            table.bad(record.line, str(error), error.field)
        else:
            table.records.append(Record(record.line, {**record.values, "messages": turns}))
    columns["messages"] = None


def _system(values: Mapping[str, Any]) -> Turns:
    text = _text(values.get("system"))
    return [{"role": "system", "content": text}] if text else []


def _pair(question: Any, answer: Any) -> Turns:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _parsed(value: Any) -> Any:
    """Parquet and JSON hold a list as it is, and CSV as JSON text."""
    if not isinstance(value, str) or not value.strip():
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
