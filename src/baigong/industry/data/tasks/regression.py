"""Rows that give a text a number."""

from __future__ import annotations

from baigong.industry.data.cells import Cells, Draft
from baigong.tuning.examples.labelled import number


def regression(cells: Cells) -> Draft:
    text, value = cells.text("text"), cells.text("value")
    if value and number(value) is None:
        cells.bad("value", f"a number expected, got {value[:40]!r}")
    return Draft(cells.prompt(text), value, text)
