"""nDCG@10 on sets that others judged and across languages, with and without the package's embedder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.embedder import Set, by_system, sets
from bench.knowledge.beir import Beir, bm25, mean_ndcg
from bench.knowledge.stage import built_in
from bench.record import row

# (full text alone, with vectors)
GOALS = {"scifact": (0.66, 0.70), "stard": (None, 0.56), "stard + 59k articles": (None, 0.42)}
ACROSS = 0.60  # a question in Chinese, paragraphs in English


def measure(data: Path) -> Iterator[dict[str, Any]]:
    """Each set indexed once, and asked all its questions both ways."""
    embed = built_in()
    for one in sets(data):
        words, both = GOALS.get(one.name, (None, ACROSS if one.is_across else None))
        alone, fused = by_system(one, embed)
        beir = _beir(one)
        yield row(f"{one.name}: full text, nDCG@10", alone, goal=words)
        yield row(f"{one.name}: with vectors, nDCG@10", fused, goal=both)
        yield row(f"{one.name}: plain BM25, nDCG@10", mean_ndcg(beir, bm25(beir)))


def _beir(one: Set) -> Beir:
    return Beir(
        [(str(place), "", text) for place, text in enumerate(one.texts)],
        [(str(place), text) for place, text in enumerate(one.questions)],
        {str(place): {str(at) for at in each} for place, each in enumerate(one.relevant)},
    )
