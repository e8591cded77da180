"""Rows that are conversations: turns in one column, or a prompt and an answer in two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from baigong.industry.cells import Cells, Draft, json_cell
from baigong.industry.recipe import Recipe
from baigong.types import Message, Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def chat(cells: Cells) -> Draft:
    if chat_fields(cells.recipe, cells.table.columns) != ("messages",):
        prompt, answer = cells.text("prompt"), cells.text("answer")
        return Draft(cells.prompt(prompt), answer, prompt)
    turns = list(_turns(cells))
    if not cells.is_good:
        return Draft((), "", "")
    if not turns or turns[-1].role != "assistant" or not turns[-1].content:
        cells.bad("messages", "the last turn must be the assistant's answer, and not empty")
    if not any(turn.role == "user" for turn in turns[:-1]):
        cells.bad("messages", "no user turn before the answer")
    if not cells.is_good:
        return Draft((), "", "")
    *before, last = turns
    said = "\n".join(f"{turn.role}: {turn.content}" for turn in before)
    # A row that brings its own system turn was written for it; the persona is for those without.
    if before[0].role != "system":
        before = [*cells.prompt("")[:-1], *before]
    return Draft(tuple(before), last.content, said)


def _turns(cells: Cells) -> Iterator[Message]:
    value = json_cell(cells, "messages")
    if not isinstance(value, list):
        cells.bad("messages", 'expected a list of turns such as {"role": "user", "content": "..."}')
        return
    for i, turn in enumerate(value, start=1):
        role = _ROLES.get(str(turn.get("role"))) if isinstance(turn, Mapping) else None
        if role is None:
            cells.bad("messages", f"turn {i}: needs a role; allowed {', '.join(_ROLES)}")
            continue
        content = _content(turn.get("content"))
        if content is None:
            cells.bad("messages", f"turn {i}: content must be text (no images, no tool calls)")
            continue
        yield Message(role, cells.checked("messages", content.strip()))


def _content(value: Any) -> str | None:
    """OpenAI writes content as text or as a list of parts, of which only text fits here."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    texts = [p.get("text") for p in value if isinstance(p, Mapping) and p.get("type") == "text"]
    if len(texts) != len(value) or not all(isinstance(text, str) for text in texts):
        return None
    return "".join(str(text) for text in texts)


def chat_fields(recipe: Recipe, columns: Mapping[str, None]) -> tuple[str, ...]:
    """Turns in one column, or a prompt and an answer in two; what the recipe maps decides."""
    named = recipe.data.columns
    if "messages" in named or ("messages" in columns and not {"prompt", "answer"} & named.keys()):
        return ("messages",)
    is_pair = named.get("prompt", "prompt") in columns or named.get("answer", "answer") in columns
    return ("prompt", "answer") if is_pair else ("messages",)
