"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from baigong.gateway.bodies import read_object, refused
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.requests import (
    EmbeddingRequest,
    Prompt,
    check_ids,
    parse,
    prompts,
)
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import unless_gone
from baigong.industry.serving import Served, Serving


async def embed(serving: Serving, request: Request) -> Response:
    """A vector for each input, as floats or as base64 of little-endian float32."""
    asked = parse(await read_object(request), EmbeddingRequest)
    given = prompts("input", asked.input)
    served = await open_model(serving, asked.model)
    batches = await asyncio.to_thread(encode, served, given)
    vectors = await unless_gone(request, served.embed(batches))
    if asked.dimensions not in {None, len(vectors[0])}:
        raise refused(
            "dimensions",
            f"dimensions: this model's vectors have {len(vectors[0])}, got {asked.dimensions}.",
            "Leave it out.",
        )
    write = _base64 if asked.encoding_format == "base64" else list
    data = [
        {"object": "embedding", "index": i, "embedding": write(vector)}
        for i, vector in enumerate(vectors)
    ]
    tokens = sum(map(len, batches))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_reply({"object": "list", "data": data, "model": served.name, "usage": usage})


def encode(served: Served, given: Sequence[Prompt]) -> list[list[int]]:
    """The ids of each input, with what the tokenizer puts round a document.

    Raises:
        InvalidInput: one is empty, or holds ids that the model does not know.
    """
    tokenizer = served.tokenizer
    vocabulary = tokenizer.tokenizer.get_vocab_size()
    batches = [
        tokenizer.encode_text(entry, special=True) if isinstance(entry, str) else entry
        for entry in given
    ]
    for ids in batches:
        check_ids("input", ids, vocabulary)
    return batches


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
