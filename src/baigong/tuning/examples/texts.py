"""Plain text becomes token ids here: for continued pre-training, and for measuring likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from baigong.errors import InvalidInput
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import EMPTY, Encode, Example, Prepared, Unusable
from baigong.tuning.spec import TuneSpec
from baigong.types import Row

BLOCK = 1024  # tokens of a block at most, or the context where it is shorter
# What stands between documents, by the names that tokenizers give it; else what ends an answer.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "</s>", "<eos>")


def end_of_text(tokenizer: ChatTokenizer) -> int:
    """The id of the token that stands between documents.

    Raises:
        InvalidInput: the model has none.
    """
    ids = (tokenizer.tokenizer.token_to_id(name) for name in _ENDS)
    found = next((id for id in ids if id is not None), None)
    if found is None and not tokenizer.eos_ids:
        raise InvalidInput(
            f"{tokenizer.folder.name} has no token that ends a text.",
            hint="Name it as eos_token_id in the base's config.json, and pull it again.",
            param="base",
        )
    return min(tokenizer.eos_ids) if found is None else found


def text_ids(text: str, tokenizer: ChatTokenizer) -> list[int]:
    """A text's ids after whatever a text begins with: the tokenizer's own mark, else the end of another.

    So every token of the text itself follows something, and has a likelihood.
    """
    plain = tokenizer.encode_text(text)
    marked = tokenizer.encode_text(text, special=True)
    begins = marked[: len(marked) - len(plain)] if marked[-len(plain) :] == plain else []
    return [*(begins or [end_of_text(tokenizer)]), *plain]


def texts_of(base: Path, _: int) -> Encode[Example]:
    """Rows as texts of which every token is learnt; they may be longer than the context.

    Raises (the function that is returned):
        Unusable: there is no text.
    """
    tokenizer = ChatTokenizer(base)
    end = end_of_text(tokenizer)

    def encode_row(row: Row) -> Example:
        text = row.messages[-1].content
        if not text.strip():
            raise Unusable(EMPTY)
        ids = text_ids(text, tokenizer)
        # Where the next text brings no end of this one, it is put here.
        return Example(ids if ids[0] == end else [*ids, end], 1)

    return encode_row


def packed(prepared: Prepared[Example], _: TuneSpec, context: int) -> Prepared[Example]:
    """Texts one after the other, cut into blocks that are full, so that nothing is padded.

    Each text begins with the mark that ends the one before it. A block begins with the last token of
    the block before, so that every token is predicted once.
    """
    size = min(context, BLOCK)
    return msgspec.structs.replace(
        prepared,
        train=list(_blocks(prepared.train, size)),
        validation=list(_blocks(prepared.validation, size)),
    )


def _blocks(texts: Sequence[Example], size: int) -> Iterator[Example]:
    ids = list(chain.from_iterable(text.ids for text in texts))
    for at in range(0, len(ids) - 1, size - 1):
        yield Example(ids[at : at + size], 1)
