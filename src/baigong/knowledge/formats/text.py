"""Plain text in any usual encoding."""

from __future__ import annotations

from baigong.knowledge.formats.document import Document, File, clean
from baigong.knowledge.formats.encoding import decode


def read(file: File) -> Document:
    """The text as it stands."""
    return Document(file.path, file.stem, clean(decode(file.data)))
