"""A hub with many repositories that nobody uploaded: rows alone, as real ones are spread."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import insert

from baigong.store.database import Database
from baigong.store.hub_tables import repositories

FAMILIES = (
    "Qwen2.5 Qwen3 Llama-3.1 Llama-3.2 Mistral gemma-2 gemma-3 phi-3 DeepSeek-R1 Yi internlm2 "
    "MiniCPM OLMo falcon bge gte e5 bert roberta whisper wav2vec2 vit clip t5 opus-mt sd-turbo"
).split()
SIZES = "0.5B 1B 1.5B 3B 4B 7B 8B 9B 14B 32B 70B base small large".split()
ENDINGS = (
    "Instruct chat GGUF AWQ GPTQ lora sft dpo finetuned zh code math medical law finance merged "
    "distill v2 v3 8bit 4bit fp16 onnx"
).split()
TASKS = (
    "text-generation fill-mask text-classification feature-extraction sentence-similarity "
    "automatic-speech-recognition image-classification text-to-image translation"
).split()
LIBRARIES = "transformers peft sentence-transformers diffusers gguf onnx".split()
LICENSES = "apache-2.0 mit llama3.1 gemma cc-by-4.0 other".split()
LANGUAGES = "en zh fr de es ja ko ar".split()
BASES = [f"baigong-hub/{family}-{size}" for family in FAMILIES for size in SIZES[:6]]
_AT_ONCE = 5000


def fill(database: Database, count: int) -> None:
    """Insert `count` models, the same for the same number."""
    draw, rows = random.Random(count), []
    for number in range(count):
        rows.append(_row(draw, number))
        if len(rows) == _AT_ONCE or number == count - 1:
            with database.begin() as connection:
                connection.execute(insert(repositories), rows)
            rows = []


def searches(seed: int) -> Iterator[dict[str, str]]:
    """Queries as people send them, in no end: a page of all, words, filters, and both."""
    draw = random.Random(seed)
    while True:
        family, size, ending = (draw.choice(some) for some in (FAMILIES, SIZES, ENDINGS))
        yield draw.choice((
            {"sort": draw.choice(("downloads", "likes", "created"))},
            {"search": family},
            {"search": f"{family} {size}"},
            {"search": ending[: draw.randint(2, 8)], "sort": "likes"},
            {"task": draw.choice(TASKS), "sort": "downloads"},
            {"library": draw.choice(LIBRARIES), "search": size},
            {"language": draw.choice(LANGUAGES), "license": draw.choice(LICENSES)},
            {"base": draw.choice(BASES)},
            {"search": f"{draw.randint(0, 99_999):05}"},
        ))


def _row(draw: random.Random, number: int) -> dict[str, Any]:
    words = (draw.choice(FAMILIES), draw.choice(SIZES), *draw.sample(ENDINGS, draw.randint(0, 2)))
    name = f"user{int(draw.paretovariate(0.6)) % 20_000}/{'-'.join(words)}-{number:05}"
    made = 1.6e9 + draw.random() * 1.9e8
    return {
        "kind": "model",
        "name": name,
        "folded": name.lower(),
        "private": draw.random() < 0.02,
        "settings": {},
        "about": _about(draw),
        "head": f"{number:040x}",
        "downloads": int(draw.paretovariate(0.5)) % 10_000_000,
        "likes": int(draw.paretovariate(0.9)) % 10_000 - 1,
        "created_at": made,
        "modified_at": made + draw.random() * 1e7,
        "changed_at": time.time(),
    }


def _about(draw: random.Random) -> dict[str, Any]:
    found = {
        "task": draw.choice(TASKS),
        "library": draw.choice(LIBRARIES),
        "license": draw.choice(LICENSES),
        "languages": draw.sample(LANGUAGES, draw.randint(0, 3)),
        "tags": draw.sample(ENDINGS + FAMILIES, draw.randint(0, 6)),
        "bases": draw.sample(BASES, draw.randint(0, 1)),
    }
    card = {
        "pipeline_tag": found["task"],
        "library_name": found["library"],
        "license": found["license"],
        "language": found["languages"],
        "tags": found["tags"],
        "base_model": found["bases"],
    }
    parameters = int(10 ** draw.uniform(7, 11))
    more = {"size": 2 * parameters, "parameters": parameters, "dtypes": {"BF16": parameters}}
    return {**found, **more, "card": card, "architecture": "LlamaForCausalLM"}
