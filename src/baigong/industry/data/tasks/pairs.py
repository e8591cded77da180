"""Rows that pair a query with the text that answers it, and perhaps with one that only seems to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from baigong.industry.data.cells import Cells, Draft
from baigong.industry.recipe import Recipe


def pairs(cells: Cells) -> Draft:
    query, positive = cells.text("query"), cells.text("positive")
    negative = cells.text("negative", required=False) if cells.has("negative") else ""
    return Draft(cells.prompt(query), positive, query, rejected=negative or msgspec.UNSET)


def pairs_fields(recipe: Recipe, _: Mapping[str, None]) -> tuple[str, ...]:
    """The negative is a column only where the recipe names it, or the file has it."""
    named = ("negative",) if "negative" in recipe.data.columns else ()
    return ("query", "positive", *named)
