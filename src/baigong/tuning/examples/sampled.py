"""Prompts whose answers the model makes itself while it learns, with the answer to grade them by."""

from __future__ import annotations

from pathlib import Path

import msgspec

from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import EMPTY, LONG, Encode, Prepared, Unusable
from baigong.tuning.spec import TuneSpec, answer_tokens
from baigong.types import Row

_VALIDATION_PROMPTS = 64  # each is answered anew at every evaluation


class Prompt(msgspec.Struct, frozen=True, array_like=True):
    """A prompt's ids, the answer wanted, and how many answers of how many tokens are sampled."""

    ids: list[int]
    wanted: str
    answers: int = 1
    room: int = 1

    @property
    def length(self) -> int:
        """In tokens, of all answers with their prompt, as long as they may become."""
        return self.answers * (len(self.ids) + self.room)

    @property
    def counted(self) -> int:
        """Over how many things its loss is summed: the places that answer tokens may take."""
        return self.answers * self.room

    @property
    def scored(self) -> int:
        """Tokens whose logits are worked out."""
        return self.counted


def prompts_of(base: Path, context: int) -> Encode[Prompt]:
    """Rows as prompts, by the template of a base.

    Raises (the function that is returned):
        Unusable: no answer is wanted, or the prompt alone fills `context` tokens.
    """
    tokenizer = ChatTokenizer(base)

    def encode_row(row: Row) -> Prompt:
        ids = tokenizer.encode(row.messages)
        if not row.answer.strip():
            raise Unusable(EMPTY)
        if len(ids) >= context:
            raise Unusable(LONG)
        return Prompt(ids, row.answer)

    return encode_row


def sized(prepared: Prepared[Prompt], spec: TuneSpec, context: int) -> Prepared[Prompt]:
    """The prompts with the answers that a wish asks for; one greedy answer in validation."""

    def fit(prompt: Prompt, answers: int) -> Prompt:
        room = min(answer_tokens(spec), context - len(prompt.ids))
        return msgspec.structs.replace(prompt, answers=answers, room=room)

    return msgspec.structs.replace(
        prepared,
        train=[fit(prompt, spec.group) for prompt in prepared.train],
        validation=[fit(prompt, 1) for prompt in prepared.validation[:_VALIDATION_PROMPTS]],
    )
