"""Rows that put a text into one of some classes."""

from __future__ import annotations

from baigong.industry.data.cells import Cells, Draft


def classification(cells: Cells) -> Draft:
    text, label = cells.text("text"), cells.text("label")
    return Draft(cells.prompt(text), label, text)
