"""Text as metrics see it: normal forms, tokens of Chinese and English, and which of the two it is."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["zh", "en"]

# Han (with extensions), kana: scripts whose words carry no spaces, so that a character is a token.
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\U00020000-\U0003ffff"
_HAN = re.compile(f"[{_CJK}]")
_WORD = re.compile(rf"[^\W_{_CJK}]+")
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")


def normalise(text: str) -> str:
    """NFC, with every run of white space as one space. Two texts equal in this form are one text."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fold(text: str) -> str:
    """Also blind to case and to full-width forms: texts equal in this form must share a split."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> list[str]:
    """Chinese by character, everything else by word; punctuation and case do not count."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def language_of(text: str) -> Language:
    """`zh` if there are at least as many Chinese characters as other words, else `en`."""
    han = len(_HAN.findall(text))
    return "zh" if han and han >= len(_WORD.findall(text)) else "en"
