"""Rows whose prompt is a picture, as the file's bytes and a label."""

from __future__ import annotations

from pathlib import Path

from baigong.errors import InvalidInput
from baigong.model.data_url import image_of
from baigong.tuning.examples.labelled import OneLoss, asked_text
from baigong.tuning.examples.rows import EMPTY, Encode, Unusable
from baigong.types import Row

NO_PICTURE = "the prompt is no picture"


class Pictured(OneLoss, frozen=True):
    """A picture's file, and its label as it is written."""

    file: bytes
    label: str

    @property
    def length(self) -> int:
        """One: pictures are all made one size, and are counted where texts count tokens."""
        return 1


def pictures_of(_base: Path, _context: int) -> Encode[Pictured]:
    """Rows as a picture and its label; the last thing that the user says is a data URL.

    Raises (the function that is returned):
        Unusable: it is none, or there is no label.
    """

    def encode_row(row: Row) -> Pictured:
        if not row.answer.strip():
            raise Unusable(EMPTY)
        try:
            return Pictured(image_of(asked_text(row.messages)), row.answer)
        except InvalidInput as error:
            raise Unusable(NO_PICTURE) from error

    return encode_row
