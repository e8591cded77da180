"""Whether a base can be tuned on conversations at all: its chat template, and the tokens that it writes."""

from __future__ import annotations

import re

from baigong.errors import InvalidInput, Unsupported
from baigong.model.chat import ChatTokenizer
from baigong.types import Message

_MARK = re.compile(r"<\|[^|<>\s]+\|>")
_TALK = (Message("user", "a"), Message("assistant", "b"))


def check_template(tokenizer: ChatTokenizer, name: str) -> None:
    """Look at how the base writes one question and its answer.

    Raises:
        InvalidInput: there is no template, or the tokenizer takes its marks apart.
    """
    try:
        text = tokenizer.render(_TALK, add_generation_prompt=False)
    except Unsupported as error:
        raise InvalidInput(
            f"The base {name} has no chat template: it only goes on with a text.",
            hint="Choose one that was made for chat (names often end in -Instruct, -it or -Chat), or"
            " put a chat_template.jinja into its folder and pull it again.",
            param="base",
        ) from error
    marks = sorted(set(_MARK.findall(text)))
    missing = [mark for mark in marks if tokenizer.tokenizer.token_to_id(mark) is None]
    if missing:
        raise InvalidInput(
            f"The chat template of {name} writes {', '.join(missing)}, which its tokenizer does not"
            " know as a token.",
            hint="Template and tokenizer.json are of different models: pull a base whose files belong"
            " together, or add the tokens to its tokenizer.json as special ones.",
            param="base",
        )
