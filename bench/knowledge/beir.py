"""Retrieval sets in BEIR's layout, and the textbook's BM25 on them."""

from __future__ import annotations

import gzip
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from baigong.knowledge.measure import ndcg

Rank = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Beir:
    """Documents (id, title, text), questions (id, text), and which documents answer which."""

    documents: list[tuple[str, str, str]]
    questions: list[tuple[str, str]]
    relevant: dict[str, set[str]]

    @property
    def bytes(self) -> int:
        return sum(len(title.encode()) + len(text.encode()) for _, title, text in self.documents)


def read_beir(folder: Path) -> Beir:
    documents = [(row["_id"], row["title"], row["text"]) for row in rows_of(folder / "corpus")]
    relevant: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").split("\n")[1:]:
        if line:
            question, document, score = line.split("\t")
            if int(score) > 0:
                relevant[question].add(document)
    questions = [
        (row["_id"], row["text"]) for row in rows_of(folder / "queries") if row["_id"] in relevant
    ]
    return Beir(documents, questions, dict(relevant))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of `path`.jsonl.gz; split on newlines alone, for texts hold U+2028."""
    text = gzip.decompress(path.with_suffix(".jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def mean_ndcg(beir: Beir, rank: Rank) -> float:
    """nDCG@10 over all questions."""
    return statistics.mean(ndcg(rank(text), beir.relevant[id_]) for id_, text in beir.questions)


def bm25(beir: Beir) -> Rank:
    """k1 1.2, b 0.75, words as they are, Chinese by pairs of characters."""
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lengths = []
    for number, (_, title, text) in enumerate(beir.documents):
        counts = Counter(_plain_terms(f"{title} {text}"))
        lengths.append(counts.total())
        for term, count in counts.items():
            postings[term].append((number, count))
    mean = statistics.mean(lengths)

    def rank(question: str) -> list[str]:
        scores: dict[int, float] = defaultdict(float)
        for term in _plain_terms(question):
            found = postings.get(term, [])
            idf = math.log(1 + (len(lengths) - len(found) + 0.5) / (len(found) + 0.5))
            for number, count in found:
                norm = 1.2 * (0.25 + 0.75 * lengths[number] / mean)
                scores[number] += idf * count * 2.2 / (count + norm)
        best = sorted(scores, key=lambda number: -scores[number])[:10]
        return [beir.documents[number][0] for number in best]

    return rank


def _plain_terms(text: str) -> list[str]:
    terms: list[str] = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[a-z0-9]+", text.lower()):
        if run[0] < "\u4e00" or len(run) == 1:
            terms.append(run)
        else:
            terms.extend(run[at : at + 2] for at in range(len(run) - 1))
    return terms
