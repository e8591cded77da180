"""Titles that say something, and those that a program or a scanner wrote."""

from __future__ import annotations

import re

# What programs write where nobody gave a title.
_MADE_UP = re.compile(
    r"(?:microsoft (?:word|excel|powerpoint)|powerpoint (?:presentation|演示文稿)|untitled|unbenannt"
    r"|sans titre|无标题|未命名|無標題)\b.*"
    r"|(?:img|dsc|scan|scanned document|doc|document|presentation|slide|book|layout|print|文档"
    r"|新建文档|演示文稿|幻灯片|工作簿)?[\W_]*\d*"
    # A file's name, as print programs hand it on.
    r"|\S.*\.(?:docx?|pdf|pptx?|xlsx?|rtf|odt|odp|indd|qx[pd]|tex|dvi|fm|pub|wpd|html?|txt)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"(?=.*\d)[0-9a-f\W_]{8,}", re.IGNORECASE)  # a digest, a UUID, a file's number
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]{3,}(?![^\W_])|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def is_telling(title: str) -> bool:
    """Whether a title holds words worth searching for; a code such as `AB-1234` counts as one."""
    title = title.strip()
    if _MADE_UP.fullmatch(title) is not None:
        return False
    if _NUMBER.fullmatch(title) is not None:
        return False
    letters = [letter for letter in title if letter.isalnum()]
    digits = sum(letter.isdigit() for letter in letters)
    return _WORD.search(title) is not None or digits < 0.7 * len(letters)
