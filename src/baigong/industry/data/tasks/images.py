"""Rows that put a picture into one of some classes. The picture itself is in the row, as a data URL."""

from __future__ import annotations

from baigong.industry.data.cells import Cells, Draft


def images(cells: Cells) -> Draft:
    image, label = cells.text("image"), cells.text("label")
    return Draft(cells.prompt(image), label, image)
