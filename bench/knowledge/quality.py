"""nDCG@10 on sets that others judged, in full text alone and with the embedder of the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from baigong.knowledge.measure import ranked_documents
from bench.knowledge.beir import Beir, bm25, mean_ndcg, read_beir, rows_of
from bench.knowledge.stage import Asker, Texts, built_in, fill, fresh_bases, row
from bench.pairs import cross_lingual_questions

CHUNKS_FOR_TEN_DOCUMENTS = 20  # passages asked for, so that ten documents are among them
SCIFACT, STARD, AMONG, ACROSS = (
    "SciFact",
    "STARD",
    "STARD among all articles",
    "Chinese question, English paragraph",
)
# (full text alone, with vectors)
GOALS = {SCIFACT: (0.66, 0.70), STARD: (None, 0.56), AMONG: (None, 0.42), ACROSS: (None, 0.60)}


def measure(data: Path) -> Iterator[dict[str, Any]]:
    """Each set indexed twice and asked all its questions."""
    retrieval = data / "retrieval"
    stard = read_beir(retrieval / "stard")
    sets = {
        SCIFACT: read_beir(retrieval / "scifact"),
        STARD: stard,
        AMONG: _among(stard, data / "law" / "lawrefbook_laws"),
        ACROSS: cross_lingual_questions(data),
    }
    for name, beir in sets.items():
        theirs = mean_ndcg(beir, bm25(beir))
        words, both = GOALS[name]
        yield row(f"{name}: full text, nDCG@10", _ours(beir, False), goal=words)
        yield row(f"{name}: with vectors, nDCG@10", _ours(beir, True), goal=both)
        yield row(f"{name}: plain BM25, nDCG@10", theirs)


def _ours(beir: Beir, with_vectors: bool) -> float:
    embed = built_in() if with_vectors else None
    names = {f"{number}.md": name for number, (name, _, _) in enumerate(beir.documents)}
    texts = {
        path: f"# {title}\n\n{text}" if title else text
        for path, (_, title, text) in zip(names, beir.documents, strict=True)
    }
    with fresh_bases() as bases:
        fill(bases, "bench", Texts(texts), embed)
        ask = Asker(bases, "bench", embed)

        def rank(question: str) -> list[str]:
            found = ask(question, CHUNKS_FOR_TEN_DOCUMENTS)
            return [names[document] for document in ranked_documents(found)]

        figure = mean_ndcg(beir, rank)
        ask.close()
        return figure


def _among(beir: Beir, laws: Path) -> Beir:
    """The same questions with all other articles around; those that are in the set already left out."""
    known = {"".join(text.split()) for _, _, text in beir.documents}
    others = [
        (f"law{number}", article.get("title", ""), article["text"])
        for number, article in enumerate(rows_of(laws))
        if "".join(article["text"].split()) not in known
    ]
    return dataclasses.replace(beir, documents=[*beir.documents, *others])
