"""Rows that compare two answers to a prompt, or judge one.

Read are the columns of TRL (`prompt`, `chosen`, `rejected`, `completion`, `label`), of OpenAI
(`input`, `preferred_output`, `non_preferred_output`) and of LLaMA-Factory (`conversations` or
`messages`, `chosen`, `rejected`, `kto_tag`), with answers as text, as a turn or as a list of turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from baigong.evals.text import normalise
from baigong.industry.data.cells import Cells, Draft, json_cell
from baigong.industry.data.tasks.chat import read_turns
from baigong.industry.recipe import Recipe
from baigong.types import Message

_JUDGING = "kto"
# The columns that hold a field where the recipe names none.
_NAMES = {
    "prompt": ("prompt", "input", "conversations", "messages"),
    "chosen": ("chosen", "preferred_output"),
    "rejected": ("rejected", "non_preferred_output"),
    "answer": ("answer", "completion"),
    "label": ("label", "kto_tag"),
}
_VERDICTS = {"true": True, "1": True, "false": False, "0": False}
_NOTHING = Draft((), "", "")


def preference(cells: Cells) -> Draft:
    """Two answers, or for objective kto one with its verdict."""
    return _rated(cells) if cells.recipe.tune.objective == _JUDGING else _pair(cells)


def preference_fields(recipe: Recipe, columns: Mapping[str, None]) -> tuple[str, ...]:
    """The columns that must be there; which ones a prompt and an answer are in, the file decides."""
    is_judging = recipe.tune.objective == _JUDGING
    wanted = ["label"] if is_judging else ["chosen", "rejected"]
    prompt = _column(recipe, columns, "prompt")
    # The prompt may be what two conversations begin with, and the answer how one ends.
    if is_judging or (prompt in columns) or "prompt" in recipe.data.columns:
        wanted.insert(0, "prompt")
    return tuple(
        field if field in recipe.data.columns else _column(recipe, columns, field)
        for field in wanted
    )


def _column(recipe: Recipe, columns: Mapping[str, None], field: str) -> str:
    """The column of a field: as the recipe says, or the first usual name that the file has."""
    if field in recipe.data.columns:
        return recipe.data.columns[field]
    return next((name for name in _NAMES[field] if name in columns), field)


def _pair(cells: Cells) -> Draft:
    chosen, rejected = _said(cells, "chosen"), _said(cells, "rejected")
    before = _said(cells, "prompt")
    if not cells.is_good:
        return _NOTHING
    if not before:  # both are whole conversations
        before = _common(chosen, rejected)
        chosen, rejected = chosen[len(before) :], rejected[len(before) :]
    else:
        chosen, rejected = (_without(side, before) for side in (chosen, rejected))
    messages = _prompt(cells, before)
    answer, other = _answer(cells, "chosen", chosen), _answer(cells, "rejected", rejected)
    if cells.is_good and normalise(answer) == normalise(other):
        remedy = "both answers are the same, so that neither is preferred; remove the row"
        cells.bad(_place(cells, "rejected"), remedy)
    return Draft(messages, answer, _text(before), rejected=other) if cells.is_good else _NOTHING


def _rated(cells: Cells) -> Draft:
    before, is_good = _said(cells, "prompt"), _verdict(cells)
    name = _place(cells, "answer")
    if name in cells.table.columns:
        after = _said(cells, "answer")
    else:
        name, before, after = _place(cells, "prompt"), before[:-1], before[-1:]
    if not cells.is_good:
        return _NOTHING
    messages, answer = _prompt(cells, before), _answer(cells, name, _without(after, before))
    return Draft(messages, answer, _text(before), is_good=is_good) if cells.is_good else _NOTHING


def _place(cells: Cells, field: str) -> str:
    """The column of a field, as `Cells` takes it."""
    return _column(cells.recipe, cells.table.columns, field)


def _said(cells: Cells, field: str) -> list[Message]:
    """The turns in a field: text is one turn, of the user in a prompt and of the assistant else."""
    name = _place(cells, field)
    value = cells.record.values.get(name)
    loaded = json_cell(cells, name) if isinstance(value, str) and value[:1] in "[{" else value
    if isinstance(loaded, Mapping) and "messages" in loaded:  # OpenAI's `input`
        loaded = loaded["messages"]
    if isinstance(loaded, Mapping):
        loaded = [loaded]
    if isinstance(loaded, list) and all(isinstance(turn, Mapping) for turn in loaded):
        return [turn for turn, _ in read_turns(cells, name, loaded)]
    text = cells.text(name, required=False)
    if not text:
        return []
    return [Message("user" if field == "prompt" else "assistant", text)]


def _common(first: Sequence[Message], second: Sequence[Message]) -> list[Message]:
    """The turns that two conversations begin with, the last answer of either left out."""
    found = []
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        found.append(one)
    return found


def _without(turns: list[Message], before: list[Message]) -> list[Message]:
    """An answer that repeats its prompt, without it."""
    n = len(before)
    return turns[n:] if len(turns) > n and turns[:n] == before else turns


def _prompt(cells: Cells, before: list[Message]) -> tuple[Message, ...]:
    """The turns before the answer, after the recipe's persona where they bring no system turn."""
    if not any(turn.role == "user" for turn in before):
        cells.bad(_place(cells, "prompt"), "no prompt: no user turn before the answers")
        return ()
    if before[0].role == "system":
        return tuple(before)
    return (*cells.prompt("")[:-1], *before)


def _answer(cells: Cells, name: str, turns: list[Message]) -> str:
    """The text of an answer, which is one turn of the assistant."""
    name = _place(cells, name) if name in _NAMES else name
    if not turns or not turns[-1].content:
        cells.bad(name, "empty: give the text of this answer, or remove the row")
    elif len(turns) > 1 or turns[0].role != "assistant":
        cells.bad(
            name, "an answer is one turn of the assistant; put those before it into the prompt"
        )
    return turns[-1].content if turns else ""


def _text(before: list[Message]) -> str:
    """What the prompt says, by which rows are split: a single turn as it is."""
    if len(before) == 1:
        return before[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in before)


def _verdict(cells: Cells) -> bool:
    name = _place(cells, "label")
    value: Any = cells.record.values.get(name)
    found = _VERDICTS.get(str(value).strip().lower())
    if found is None:
        cells.bad(name, f"got {value!r}; allowed true for an answer to give, or false")
    return bool(found)
