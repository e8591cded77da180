"""A look over all rows before they are learnt: near duplicates, leaks into the test, private things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from baigong.evals.text import normalise
from baigong.industry.data.near import find_near
from baigong.industry.data.private import private_in
from baigong.types import Row


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. `leaks` are places of rows that must not be learnt; `notes` is what -> lines."""

    leaks: Collection[int]
    near: int
    private: dict[str, int]
    notes: Mapping[str, Sequence[str]]


def look_at(rows: Sequence[Row], *, has_one_answer: bool) -> Look:
    """Look over rows that have their splits. No value of a row is in what is told, only its line."""
    notes: dict[str, list[str]] = {}
    near = find_near([_said(row) for row in rows], [row.split == "test" for row in rows])

    def both(pairs: Mapping[int, int]) -> list[str]:
        return [f"{rows[one].source} and {rows[other].source}" for one, other in pairs.items()]

    leaks = {} if near.is_patterned else near.leaks
    if near.is_patterned:
        what = "rows look made from patterns: many to learn from are nearly test rows, and stay, so that"
        notes[f"{what} the test says little of other texts"] = both(near.leaks)
    elif leaks:
        notes["nearly a test row, not learnt"] = both(leaks)
    twins = {one: other for one, other in near.twins.items() if one not in leaks}
    if has_one_answer:
        split = {
            one: other
            for one, other in twins.items()
            if normalise(rows[one].answer) != normalise(rows[other].answer)
        }
        if split:
            notes["nearly one text, two answers; look which is right"] = both(split)
    private: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for kind in sorted(private_in(f"{_said(row)}\n{row.answer}")):
            private[kind].append(row.source)
    for kind, places in private.items():
        notes[f"{kind} in {len(places)} rows; a model may learn it by heart"] = places
    counts = {kind: len(places) for kind, places in private.items()}
    return Look(leaks.keys(), len(twins), counts, notes)


def _said(row: Row) -> str:
    """What is asked, without what stands before every row."""
    return "\n".join(turn.content for turn in row.messages if turn.role != "system")
