"""Scored tokens in OpenAI's two shapes: a list of objects for chats, four lists for completions."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from baigong.types import Candidate, Scored


def chat_logprobs(scored: Sequence[Scored]) -> dict[str, Any]:
    """`logprobs` of a chat's choice, whole or a piece."""
    content = [
        {**_object(one), "top_logprobs": [_object(other) for other in one.likeliest]}
        for one in scored
    ]
    return {"content": content, "refusal": None}


def _object(one: Candidate) -> dict[str, Any]:
    return {"token": one.text, "bytes": list(one.bytes) or None, "logprob": one.logprob}


class TextLogprobs:
    """`logprobs` of one completion's pieces; counts the characters that came before each token."""

    def __init__(self, *, has_likeliest: bool) -> None:
        self._has_likeliest = has_likeliest
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def piece(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """The next tokens. A prompt's first token has null for what is not known of it."""
        offsets = []
        for one in scored:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(one.bytes))
        top = [_table(one) for one in scored] if self._has_likeliest else None
        return {
            "tokens": [one.text for one in scored],
            "token_logprobs": [one.logprob for one in scored],
            "top_logprobs": top,
            "text_offset": offsets,
        }


def _table(one: Scored) -> dict[str, float | None] | None:
    """The likeliest tokens by their text, and the token itself where it is not one of them."""
    if one.logprob is None:
        return None
    table: dict[str, float | None] = {}
    for other in (*one.likeliest, one):  # of two that read the same, the likelier stands
        table.setdefault(other.text, other.logprob)
    return table
