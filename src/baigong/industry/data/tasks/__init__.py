"""What a row of each task looks like: from the columns of a file to a prompt and the answer wanted.

To add a task is to add a file and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from baigong.evals.metrics import Task
from baigong.industry.data.cells import Cells, Draft
from baigong.industry.data.pictures import read_pictures
from baigong.industry.data.tables import Table
from baigong.industry.data.tasks.chat import chat, chat_fields
from baigong.industry.data.tasks.classification import classification
from baigong.industry.data.tasks.extraction import extraction, extraction_fields
from baigong.industry.data.tasks.grounded import grounded
from baigong.industry.data.tasks.images import images
from baigong.industry.data.tasks.pairs import pairs, pairs_fields
from baigong.industry.data.tasks.preference import preference, preference_fields
from baigong.industry.data.tasks.regression import regression
from baigong.industry.data.tasks.text import text
from baigong.industry.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Shape:
    """How one task reads a record. `has_one_answer`: two answers to one prompt contradict each other.

    `read` makes tables of what is no file of rows.
    """

    convert: Callable[[Cells], Draft]
    has_one_answer: bool
    fields: Callable[[Recipe, Mapping[str, None]], tuple[str, ...]]
    read: Callable[[Path], list[Table]] | None = None


SHAPES: dict[Task, Shape] = {
    "chat": Shape(chat, False, chat_fields),
    "classification": Shape(classification, True, lambda *_: ("text", "label")),
    "extraction": Shape(extraction, True, extraction_fields),
    "grounded": Shape(grounded, False, lambda *_: ("question", "answer")),
    "regression": Shape(regression, True, lambda *_: ("text", "value")),
    "pairs": Shape(pairs, False, pairs_fields),
    "images": Shape(images, True, lambda *_: ("image", "label"), read_pictures),
    "text": Shape(text, False, lambda *_: ("text",)),
    "preference": Shape(preference, False, preference_fields),
}


def missing_columns(table: Table, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each column that the task needs and the file lacks, with what is there instead."""
    for field in SHAPES[recipe.task].fields(recipe, table.columns):
        column = recipe.data.columns.get(field, field)
        if column in table.columns:
            continue
        near = get_close_matches(column, list(table.columns), n=1, cutoff=0.6)
        remedy = f"; did you mean {near[0]}?" if near else ""
        if field not in recipe.data.columns:
            remedy += f" Name the column in data.columns: {{{field}: COLUMN}}."
        yield column, f"no such column; the file has {', '.join(table.columns) or 'none'}{remedy}"
