"""A picture's file as pixels. Pillow reads it: `pip install 'baigong[images]'`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from baigong.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 50_000_000


def read_picture(data: bytes, *, is_tried: bool = False) -> Image.Image:
    """The picture in RGB; one that is only tried may come back in less detail, which is quicker.

    Raises:
        InvalidInput: it is no picture, is cut short, or has too many pixels; the message says which.
        Unsupported: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  not every machine has it
    except ImportError as error:
        raise Unsupported(
            "Images cannot be read on this machine.", hint="Run `pip install 'baigong[images]'`."
        ) from error
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > MOST_PIXELS:  # a small file can hold a very large image
            raise InvalidInput(f"it has more than {MOST_PIXELS} pixels")
        if is_tried:
            picture.draft("RGB", (32, 32))
        return picture.convert("RGB")
    except UnidentifiedImageError as error:
        raise InvalidInput("it is no picture of a kind that is known here") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(str(error)) from error
