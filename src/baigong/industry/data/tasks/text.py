"""Rows that are plain text, for continued pre-training: nothing is asked, and nothing answers."""

from __future__ import annotations

from baigong.industry.data.cells import Cells, Draft
from baigong.types import Message


def text(cells: Cells) -> Draft:
    said = cells.text("text")
    return Draft((Message("user", said),), "", said)
