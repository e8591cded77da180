"""Pictures of text (.png, .jpg, .tif), for which OCR has to be installed."""

from __future__ import annotations

import io

from baigong.knowledge.formats import ocr
from baigong.knowledge.formats.document import Document, File, Unreadable, paged
from baigong.knowledge.formats.pdf import laid_out

MAX_PIXELS = 100_000_000


def read(file: File) -> Document:
    """What stands on the picture; a page for each of those in one file."""
    if not ocr.is_installed():
        raise Unreadable(f"is a picture; {ocr.REMEDY}")
    import numpy  # noqa: PLC0415  comes with OCR, as the next
    from PIL import Image, ImageSequence, UnidentifiedImageError  # noqa: PLC0415

    pages: list[str] = []
    try:
        with Image.open(io.BytesIO(file.data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Unreadable(
                    f"has more than {MAX_PIXELS // 1_000_000} million pixels; shrink it."
                )
            for frame in ImageSequence.Iterator(picture):
                pages.append(laid_out(*ocr.read_words(numpy.array(frame.convert("RGB")))))
                file.step()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unreadable(f"is not a whole picture: {error}") from error
    text, spans = paged(pages)
    return Document(file.path, file.stem, text, spans, is_markdown=True)
