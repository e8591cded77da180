"""Text of pictures, through RapidOCR where it is installed."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from baigong.knowledge.formats.lines import Word

REMEDY = "install baigong[ocr] to have it recognised, or run OCR over it first."


@cache
def is_installed() -> bool:
    """Whether pictures can be read here."""
    return find_spec("rapidocr") is not None


@cache
def _engine() -> Any:
    return import_module("rapidocr").RapidOCR()


def read_words(picture: Any) -> tuple[str, list[Word]]:
    """The text of a picture (an array of rows, columns, colours) and where its pieces stand."""
    found = _engine()(picture)
    if found.boxes is None or not found.txts:
        return "", []
    boxes = [
        (
            min(x for x, _ in box),
            max(x for x, _ in box),
            -max(y for _, y in box),
            -min(y for _, y in box),
        )
        for box in found.boxes.tolist()
    ]
    text = ""
    words: list[Word] = []
    foot: float | None = None
    order = sorted(zip(boxes, found.txts, strict=True), key=lambda piece: -piece[0][3])
    for (left, right, bottom, top), said in order:
        if text:
            text += "\n" if foot is None or (top + bottom) / 2 < foot else " "
        words.append(Word(len(text), len(text) + len(said), left, right, bottom, top, said))
        text += said
        foot = bottom
    return text, words
