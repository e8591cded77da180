"""Rows that are conversations: turns in one column, or a prompt and an answer in two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from baigong.industry.data.cells import Cells, Draft, json_cell
from baigong.industry.recipe import Recipe
from baigong.types import Message, Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}


def chat(cells: Cells) -> Draft:
    if chat_fields(cells.recipe, cells.table.columns) != ("messages",):
        prompt, answer = cells.text("prompt"), cells.text("answer")
        return Draft(cells.prompt(prompt), answer, prompt)
    turns = list(_turns(cells))
    if cells.is_good:
        _in_order(cells, [turn for turn, _ in turns])
    while cells.is_good and turns and not turns[-1][1]:
        turns.pop()  # nothing after the last turn that is learnt matters
    if not cells.is_good:
        return Draft((), "", "")
    if not turns:
        cells.bad("messages", "no turn of the assistant's is learnt: each has weight 0")
        return Draft((), "", "")
    *before, (last, _) = turns
    said = "\n".join(f"{turn.role}: {turn.content}" for turn, _ in before)
    # A row that brings its own system turn was written for it; the persona is for those without.
    persona = cells.prompt("")[:-1] if before[0][0].role != "system" else ()
    unlearnt = tuple(
        place
        for place, (turn, is_learnt) in enumerate(before, start=len(persona))
        if turn.role == "assistant" and not is_learnt
    )
    messages = (*persona, *(turn for turn, _ in before))
    return Draft(messages, last.content, said, unlearnt=unlearnt)


def _turns(cells: Cells) -> Iterator[tuple[Message, bool]]:
    value = json_cell(cells, "messages")
    if not isinstance(value, list):
        cells.bad("messages", 'expected a list of turns such as {"role": "user", "content": "..."}')
        return
    yield from read_turns(cells, "messages", value)


def read_turns(cells: Cells, field: str, turns: Sequence[Any]) -> Iterator[tuple[Message, bool]]:
    """Turns as OpenAI writes them (`role`, `content`) or as ShareGPT does (`from`, `value`).

    With each, whether it is one to learn: the assistant's, unless it has weight 0.
    """
    for i, turn in enumerate(turns, start=1):
        is_turn = isinstance(turn, Mapping)
        role = _ROLES.get(str(turn.get("role", turn.get("from")))) if is_turn else None
        if role is None:
            cells.bad(field, f"turn {i}: needs a role; allowed {', '.join(_ROLES)}")
            continue
        content = _content(turn.get("content", turn.get("value")))
        if content is None:
            cells.bad(field, f"turn {i}: content must be text (no images, no tool calls)")
        elif not content.strip():
            cells.bad(field, f"turn {i} ({role}): empty; write its text or remove the turn")
        elif (weight := turn.get("weight")) not in (None, 0, 1):
            cells.bad(field, f"turn {i}: weight is {weight!r}; allowed 0 (not learnt) and 1")
        else:
            message = Message(role, cells.checked(field, content.strip()))
            yield message, role == "assistant" and weight != 0


def _in_order(cells: Cells, turns: Sequence[Message]) -> None:
    """Whether somebody asks and the assistant answers, each in turn."""
    roles = [turn.role for turn in turns]
    if "assistant" not in roles:
        cells.bad(
            "messages", "the assistant never speaks; add the answer to learn as the last turn"
        )
    elif roles[-1] != "assistant":
        cells.bad(
            "messages", "the last turn must be the assistant's answer; remove what follows it"
        )
    elif roles[roles[0] == "system"] == "assistant":
        cells.bad("messages", "no user turn before the answer; add what was asked")
    for i, (before, role) in enumerate(pairwise(roles), start=2):
        if role == "system" and before != "system":
            cells.bad("messages", f"turn {i}: a system turn comes first; move it there")
        elif role == before == "assistant":
            cells.bad(
                "messages", f"turn {i}: the assistant speaks twice; join the two turns into one"
            )
        elif role == "tool" and before not in {"assistant", "tool"}:
            cells.bad(
                "messages", f"turn {i}: a tool answers the assistant, and follows {before} here"
            )


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
