"""How well texts answer a question, by a cross-encoder or by a model that writes "yes" or "no"."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from baigong.errors import Unsupported
from baigong.inference.client import Engine
from baigong.model.chat import ChatTokenizer
from baigong.types import Message

# As the makers of Qwen3-Reranker trained it; another model that writes understands it too.
_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
_INSTRUCT = "Given a web search query, retrieve relevant passages that answer the query"


class Ranked(msgspec.Struct, frozen=True):
    """Scores in the order of the documents, higher is better, and the tokens that were read."""

    scores: list[float]
    tokens: int


async def rank(
    engine: Engine, tokenizer: ChatTokenizer, query: str, documents: Sequence[str]
) -> Ranked:
    """Score each document; what of it is beyond the model's context is not read.

    Raises:
        Unsupported: the model neither writes nor scores pairs.
        ContextOverflow: the query alone is too long.
        EngineUnavailable: as `Engine.generate`.
    """
    facts = engine.facts
    if "classify" in facts.tasks and len(facts.labels) == 1:
        pairs = await asyncio.to_thread(
            lambda: [tokenizer.fitting_pair(query, one, facts.context) for one in documents]
        )
        ids = [pair[0] for pair in pairs]
        shares = await engine.classify(ids, [pair[1] for pair in pairs])
    elif "choose" in facts.tasks:
        yes, no = _token(tokenizer, "yes"), _token(tokenizer, "no")
        ids = await asyncio.to_thread(_prompts, tokenizer, query, documents, facts.context)
        shares = await engine.choose(ids, [yes, no])
    else:
        raise Unsupported(
            f"{engine.folder.name} cannot rank texts.",
            hint="Use a cross-encoder with one label, or a model that writes, as Qwen3-Reranker.",
            param="model",
        )
    return Ranked([share[0] for share in shares], sum(map(len, ids)))


def _prompts(
    tokenizer: ChatTokenizer, query: str, documents: Sequence[str], limit: int
) -> list[list[int]]:
    found = []
    for document in documents:
        ids = _prompt(tokenizer, query, document)
        while len(ids) > limit and document:
            document = tokenizer.shorten(document, len(ids) - limit)
            ids = _prompt(tokenizer, query, document)
        found.append(ids)
    return found


def _prompt(tokenizer: ChatTokenizer, query: str, document: str) -> list[int]:
    asked = f"<Instruct>: {_INSTRUCT}\n<Query>: {query}\n<Document>: {document}"
    options = {"enable_thinking": False} if "enable_thinking" in tokenizer.reads else {}
    turns = [Message("system", _SYSTEM), Message("user", asked)]
    return tokenizer.encode_text(tokenizer.render(turns, options=options))


def _token(tokenizer: ChatTokenizer, word: str) -> int:
    ids = tokenizer.encode_text(word)
    if len(ids) != 1:
        raise Unsupported(f"'{word}' is {len(ids)} tokens of this model, so it cannot rank texts.")
    return ids[0]
