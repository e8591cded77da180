"""What int8 and int4 weights cost in quality and give in room, beside bfloat16 and float32.

    python -m bench.weights [--model FOLDER] [--text FOLDER]

Every text is scored by the engine itself, token by token, through the same packed weights that serve.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from pathlib import Path
from typing import Any

from baigong.inference.client import Engine, EngineConfig
from baigong.inference.likelihood import nats
from baigong.model.chat import tokenizer_of
from bench.record import record

ROOT = Path(__file__).resolve().parents[1]
SAPLING = ROOT / "src" / "baigong" / "foundation" / "sapling"
HANDBOOK = ROOT / "recipes" / "customer-service" / "handbook"
WINDOW = 512  # tokens scored at a time


async def loss_of(model: Path, pieces: list[list[int]], dtype: str) -> tuple[float, int]:
    """Negative log likelihood of every token but each piece's first, and how many those are."""
    engine = await Engine.start(model, EngineConfig(dtype=dtype))
    told = await asyncio.gather(*[nats(engine, ids) for ids in pieces])
    await engine.close()
    return sum(told), sum(len(ids) - 1 for ids in pieces)


def main() -> None:
    """Print a table and write bench/results/weights.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SAPLING)
    parser.add_argument("--text", type=Path, default=HANDBOOK)
    options = parser.parse_args()
    tokenizer = tokenizer_of(options.model)
    rows: list[dict[str, Any]] = []
    print(f"{'text':<12}{'weights':>10}{'perplexity':>12}{'of float32':>12}")
    for folder in sorted(path for path in options.text.iterdir() if path.is_dir()):
        pieces = []
        for file in sorted(folder.glob("*.md")):
            ids = tokenizer.encode_text(file.read_text("utf-8"))
            pieces += [ids[at : at + WINDOW] for at in range(0, len(ids) - 1, WINDOW)]
        exact = 0.0
        for dtype in ("float32", "bfloat16", "int8", "int4"):
            loss, count = asyncio.run(
                loss_of(options.model, [p for p in pieces if len(p) > 1], dtype)
            )
            perplexity = math.exp(loss / count)
            exact = exact or perplexity
            rows.append({
                "work": f"{folder.name}: perplexity of {count} tokens, {dtype}",
                "peer": "float32",
                "ours": round(perplexity, 4),
                "theirs": round(exact, 4),
                "unit": "perplexity",
                "ratio": round(perplexity / exact, 4),
            })
            print(f"{folder.name:<12}{dtype:>10}{perplexity:>12.3f}{perplexity / exact:>12.4f}")
    record("weights", rows, model=options.model.name)


if __name__ == "__main__":
    main()
