"""Where a text may be cut without any token noticing: a text's words then come again and again, those
of Chinese too, and are looked up but once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Unigram

_Codes = NDArray[np.uint32]

_PAIRS = 1 << 20  # places for pairs of letters; where two pairs share one, a cut is not made
_FIRST, _LAST = np.uint32(0x4E00), np.uint32(0x9FFF)  # Han letters that every normal form leaves
_RUN = "水" * 200
# Usual signs that every normal form leaves signs. Not `=`, which makes a letter of what follows.
_SIGNS = "!\"'()*,-./:;?[]_·–—‘’“”…、。《》「」『』【】！（），：；？"


class Seams:
    """The places between two Han letters that stand side by side in no token, those between a Han
    letter and what is none, and signs that are in no token.

    A unigram model takes the likeliest tokens of each side of such a place.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        blank = _pieces_of(tokenizer, " ")
        signs = [sign for sign in _SIGNS if _pieces_of(tokenizer, sign) == blank]
        self._is_sign = np.zeros(0x10000, bool)
        self._is_sign[[ord(sign) for sign in signs]] = True
        codes = _codes(tokenizer.get_vocab())
        han = _is_han(codes)
        self._held = np.zeros(_PAIRS, bool)
        self._held[_places(codes)[han[:-1] & han[1:]]] = True

    def open(self, texts: Sequence[str]) -> list[str]:
        """The texts with a blank at each seam, in place of signs too. Lone surrogates, which no tokenizer reads, are `?`."""
        if not texts:
            return []
        codes = _codes(texts)
        codes = np.where(self._is_sign[np.minimum(codes, 0xFFFF)], np.uint32(ord(" ")), codes)
        han, other = _is_han(codes), _is_other(codes)
        inside = han[:-1] & han[1:] & ~self._held[_places(codes)]
        at = np.flatnonzero(inside | (han[:-1] & other[1:]) | (other[:-1] & han[1:])) + 1
        opened = np.insert(codes, at, ord(" ")).tobytes().decode("utf-32-le")
        ends = np.cumsum([len(text) + 1 for text in texts])
        ends += np.searchsorted(at, ends, side="left")
        starts = [0, *ends.tolist()]
        return [opened[start:end] for start, end in pairwise(starts)]


def seams_of(tokenizer: Tokenizer) -> Seams | None:
    """None where it cannot be told of such a tokenizer where its tokens end."""
    if not isinstance(tokenizer.model, Unigram) or tokenizer.pre_tokenizer is None:
        return None
    return Seams(tokenizer) if _pieces_of(tokenizer, _RUN)[:3] == ["a", _RUN, "a"] else None


def _pieces_of(tokenizer: Tokenizer, between: str) -> list[str]:
    """What a tokenizer looks for tokens in, with that between letters, numbers and Han letters."""
    text = f"a{between}a 1{between}1 水{between}水"
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _codes(texts: Sequence[str] | dict[str, int]) -> _Codes:
    """Of all texts, a line end behind each."""
    return np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le", "replace"), np.uint32)


def _is_han(codes: _Codes) -> NDArray[np.bool_]:
    return (codes >= _FIRST) & (codes <= _LAST)


def _is_other(codes: _Codes) -> NDArray[np.bool_]:
    """Scripts and signs in which no normal form finds a Han letter."""
    signs = ((codes >= 0x3000) & (codes < 0x3004)) | ((codes >= 0x3008) & (codes < 0x3012))
    return (codes < 0x2E80) | signs | ((codes >= 0xFF00) & (codes < 0xFFF0))


def _places(codes: _Codes) -> _Codes:
    """Of each letter with the next one."""
    return (codes[:-1] * np.uint32(7919) + codes[1:]) & np.uint32(_PAIRS - 1)
