"""`POST /v1/rerank`, as at Jina and vLLM, and `POST /v1/classify`, as at vLLM."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from baigong.errors import InvalidInput
from baigong.gateway.bodies import read_object
from baigong.gateway.doors.openai.embeddings import encode
from baigong.gateway.doors.openai.models import open_model
from baigong.gateway.doors.openai.requests import (
    MOST_PROMPTS,
    ClassifyRequest,
    Prompt,
    RerankRequest,
    parse,
    prompts,
)
from baigong.gateway.replies import json_reply
from baigong.gateway.streams import unless_gone
from baigong.industry.serving import Serving
from baigong.model.data_url import image_of


async def rerank(serving: Serving, request: Request) -> Response:
    """The documents in the order in which they answer the query, best first."""
    asked = parse(await read_object(request), RerankRequest)
    documents = [one if isinstance(one, str) else one.text for one in asked.documents]
    if not 1 <= len(documents) <= MOST_PROMPTS:
        raise InvalidInput(
            f"documents: expected 1 to {MOST_PROMPTS} entries, got {len(documents)}.",
            param="documents",
        )
    served = await open_model(serving, asked.model)
    ranked = await unless_gone(request, served.rank(asked.query, documents))
    order = sorted(range(len(documents)), key=ranked.scores.__getitem__, reverse=True)
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": ranked.scores[index]} for index in order[: asked.top_n]
    ]
    if asked.return_documents is not False:
        for result in results:
            result["document"] = {"text": documents[result["index"]]}
    usage = {"prompt_tokens": ranked.tokens, "total_tokens": ranked.tokens}
    id = f"rerank-{secrets.token_hex(12)}"
    return json_reply({"id": id, "model": served.name, "usage": usage, "results": results})


async def classify(serving: Serving, request: Request) -> Response:
    """For each input its likeliest label, and how likely each label is.

    A model that sees takes data URLs: `data:image/png;base64,...`.
    """
    asked = parse(await read_object(request), ClassifyRequest)
    given = prompts("input", asked.input)
    served = await open_model(serving, asked.model)
    facts = await served.facts()
    labels, tokens = facts.labels, 0
    if "look" in facts.tasks:
        shares = await unless_gone(request, served.look([_image(one) for one in given]))
    else:
        ids = await asyncio.to_thread(encode, served, given)
        tokens = sum(map(len, ids))
        shares = await unless_gone(request, served.classify(ids))
    data = [
        {
            "index": index,
            "label": labels[max(range(len(row)), key=row.__getitem__)],
            "probs": row,
            "num_classes": len(row),
        }
        for index, row in enumerate(shares)
    ]
    return json_reply({
        "id": f"classify-{secrets.token_hex(12)}",
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "labels": labels,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })


def _image(given: Prompt) -> bytes:
    return image_of(given if isinstance(given, str) else "")
