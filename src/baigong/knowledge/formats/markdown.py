"""Markdown, with a title from its front matter or its first heading."""

from __future__ import annotations

import re

from baigong.knowledge.formats.document import Document, File, clean, first_heading
from baigong.knowledge.formats.encoding import decode


def read(file: File) -> Document:
    """The text without its front matter."""
    text = clean(decode(file.data))
    title = ""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if front is not None:
        text = text[front.end() :]
        named = re.search(r"^title:\s*(.+)$", front.group(1), re.MULTILINE)
        title = named.group(1).strip(" \"'") if named is not None else ""
    return Document(file.path, title or first_heading(text) or file.stem, text, is_markdown=True)
