"""Our nouns in OpenAI's words: chat completions, text completions, chunks, citations."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from baigong.errors import BaigongError
from baigong.gateway.replies import error_object
from baigong.industry.citing import Citation, marked, marks
from baigong.types import Usage

DONE = b"data: [DONE]\n\n"


def event(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def error_event(error: BaigongError) -> bytes:
    """An error after the first byte: an event, because the status is gone."""
    return event(error_object(error))


def usage_object(usage: Usage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        found["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return found


def citation_url(citation: Citation) -> str:
    """Where the passage can be read: a page of the console, opened at the quote."""
    document = quote(citation.document, safe="/")
    knowledge = quote(citation.knowledge, safe="@")
    return f"/knowledge/{knowledge}/{document}#{citation.quote_start}-{citation.quote_end}"


def url_citations(citations: Sequence[Citation], text: str) -> list[dict[str, Any]]:
    """The citations as OpenAI's `url_citation`s over the characters of the answer that stand on them.

    In an answer with `[1]`s they are those that hold what they are cited for; in one without any,
    all of them, each over the whole answer.
    """
    by_number = {one.number: one for one in citations}
    found = marks(text, citations) if citations else []
    spans = [(by_number[m.number], m.start, m.end) for m in found if m.is_supported]
    if not found:
        spans = [(citation, 0, len(text)) for citation in citations]
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "title": citation.title,
                "url": citation_url(citation),
                "start_index": start,
                "end_index": end,
            },
        }
        for citation, start, end in spans
    ]


def cited(citations: Sequence[Citation], text: str) -> dict[str, Any]:
    """A message's fields for what its text stands on."""
    return {
        "annotations": url_citations(citations, text),
        "citations": marked(citations, marks(text, citations)) if citations else citations,
    }


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every piece of one reply repeats."""

    model: str
    fingerprint: str
    kind: str  # chat | text
    with_usage: bool = False  # every chunk then carries `usage`, null until the last
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """A complete reply."""
        return {**self._head(chunk=False), "choices": choices, "usage": usage_object(usage)}

    def chunk(self, choice: dict[str, Any]) -> bytes:
        """One piece of a stream."""
        content = {**self._head(chunk=True), "choices": [choice]}
        if self.with_usage:
            content["usage"] = None
        return event(content)

    def last(self, usage: Usage) -> bytes:
        """The chunk without choices that tells the usage."""
        return event({**self._head(chunk=True), "choices": [], "usage": usage_object(usage)})

    def _head(self, *, chunk: bool) -> dict[str, Any]:
        is_chat = self.kind == "chat"
        name = ("chat.completion.chunk" if chunk else "chat.completion") if is_chat else None
        return {
            "id": f"chatcmpl-{self.id}" if is_chat else f"cmpl-{self.id}",
            "object": name or "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def chat_choice(
    text: str,
    finish: str,
    citations: Sequence[Citation],
    index: int = 0,
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A choice of a chat completion; `citations` stands beside OpenAI's `annotations`."""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        **cited(citations, text),
    }
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def chat_piece(
    delta: dict[str, Any],
    finish: str | None = None,
    index: int = 0,
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A choice of a chat chunk."""
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def chat_opening(citations: Sequence[Citation]) -> dict[str, Any]:
    """The first delta: who speaks, and what was found. The answer is not known yet, so the
    annotations end at 0; one with `[1]`s has them again, in place, in its last chunk."""
    delta: dict[str, Any] = {"role": "assistant", "content": ""}
    if citations:
        delta |= cited(citations, "")
    return delta


def chat_closing(citations: Sequence[Citation], text: str) -> dict[str, Any]:
    """The last delta: for an answer with `[1]`s, what it stands on and what it does not."""
    return cited(citations, text) if citations and marks(text, citations) else {}


def text_choice(
    index: int, text: str, finish: str | None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A choice of a text completion, whole or a piece."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
