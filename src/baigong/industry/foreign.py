"""An answer on its way, and answers of models that only upstreams have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from baigong.industry.citing import Citation
from baigong.inference.upstream.dialect import UNSAID
from baigong.inference.upstream.pool import Route
from baigong.inference.upstream.server import Conversation
from baigong.types import Delta, Message, Sampling, ToolUse


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found before the first token, the prompt's ids, and the tokens as they come.

    `again` makes another answer to the same prompt.
    """

    citations: tuple[Citation, ...]
    ids: Sequence[int]
    deltas: AsyncIterator[Delta]
    again: Callable[[Sampling], AsyncIterator[Delta]]

    @property
    def prompt_tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Answers chats under a name that only upstreams know, by the template that they have."""

    name: str
    route: Route
    fingerprint: str = "fp_upstream"

    @property
    def defaults(self) -> Sampling:
        """What a caller leaves out is the upstream's to say."""
        return UNSAID

    def effort(self, effort: str) -> dict[str, Any]:
        """Passed on: the upstream knows whether its model can think."""
        return {"reasoning_effort": effort}

    async def answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        tools: ToolUse = ToolUse(),  # noqa: B008  frozen
        options: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Answer a conversation; the last delta tells how many tokens the prompt had."""
        fields, variables = {}, dict(options or {})
        if "reasoning_effort" in variables:
            fields["reasoning_effort"] = variables.pop("reasoning_effort")
        if variables:
            fields["chat_template_kwargs"] = variables
        say = partial(self.route.chat, Conversation(messages, tools, fields))
        return Answer((), (), say(sampling), say)
