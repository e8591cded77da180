"""Retrieval beside plain BM25 and LanceDB's own Chinese tokenizer: quality, ingest and query time.

`python -m bench.knowledge --data FOLDER`, where FOLDER holds sets in BEIR's layout. Each document
goes in as a Markdown file and takes the whole way: parsing, cutting, indexing, searching, merging.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import platform
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from baigong.knowledge.index import KnowledgeStore
from lancedb.index import FTS
from lancedb.query import MatchQuery

from baigong.knowledge.measure import ndcg, ranked_documents
from baigong.knowledge.retrieve import search
from bench.record import record

Ranking = Callable[[str], list[str]]
SETS = ("scifact", "stard")
CHUNKS_FOR_TEN_DOCUMENTS = 20  # passages asked for, so that ten documents are among them


@dataclass(frozen=True)
class Beir:
    """Documents (id, title, text), questions (id, text), and which documents answer which."""

    documents: list[tuple[str, str, str]]
    questions: list[tuple[str, str]]
    relevant: dict[str, set[str]]


def read_beir(folder: Path) -> Beir:
    documents = [(row["_id"], row["title"], row["text"]) for row in _rows(folder / "corpus")]
    relevant: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").split("\n")[1:]:
        if line:
            question, document, score = line.split("\t")
            if int(score) > 0:
                relevant[question].add(document)
    questions = [
        (row["_id"], row["text"]) for row in _rows(folder / "queries") if row["_id"] in relevant
    ]
    return Beir(documents, questions, dict(relevant))


def _rows(path: Path) -> list[dict[str, str]]:
    text = gzip.decompress(path.with_suffix(".jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.split("\n") if line]


@dataclass(frozen=True)
class Measured:
    """Means over all questions; times in milliseconds, ingest in megabytes of text a second."""

    ndcg: float
    p50_ms: float
    p95_ms: float
    megabytes_s: float
    chunks_s: float = 0.0


def measure(beir: Beir, rank: Ranking, ingest_s: float, chunks: int = 0) -> Measured:
    rank(beir.questions[0][1])  # the first opens files
    gains, times = [], []
    for question, text in beir.questions:
        began = time.perf_counter()
        found = rank(text)
        times.append((time.perf_counter() - began) * 1000)
        gains.append(ndcg(found, beir.relevant[question]))
    size = sum(len(title.encode()) + len(text.encode()) for _, title, text in beir.documents)
    cuts = statistics.quantiles(times, n=20)
    return Measured(
        statistics.mean(gains), cuts[9], cuts[18], size / 1e6 / ingest_s, chunks / ingest_s
    )


def ours(beir: Beir, folder: Path) -> Measured:
    names = {}
    sources = folder / "sources"
    sources.mkdir()
    for number, (name, title, text) in enumerate(beir.documents):
        names[f"{number}.md"] = name
        (sources / f"{number}.md").write_text(f"# {title}\n\n{text}", encoding="utf-8")
    store = KnowledgeStore(folder / "store")
    store.names()  # loads the library, which is not ingest
    began = time.perf_counter()
    built = store.build("bench", [sources])
    ingest_s = time.perf_counter() - began

    def rank(question: str) -> list[str]:
        found = search(store, built.ref, question, CHUNKS_FOR_TEN_DOCUMENTS)
        return [names[document] for document in ranked_documents(found)]

    return measure(beir, rank, ingest_s, built.chunks)


def lancedb_icu(beir: Beir, folder: Path) -> Measured:
    """Whole documents in LanceDB with its dictionary segmentation, nothing of ours around it."""
    rows = [{"id": name, "text": f"{title}\n{text}"} for name, title, text in beir.documents]
    began = time.perf_counter()
    table = lancedb.connect(folder / "icu").create_table("t", pa.Table.from_pylist(rows))
    table.create_index("text", config=FTS(base_tokenizer="icu"))
    ingest_s = time.perf_counter() - began

    def rank(question: str) -> list[str]:
        query = table.search(MatchQuery(question, "text")).select(["id", "_score"]).limit(10)
        return [row["id"] for row in query.to_list()]

    return measure(beir, rank, ingest_s)


def plain_bm25(beir: Beir, folder: Path) -> Measured:
    """The textbook: k1 1.2, b 0.75, words as they are, Chinese by pairs of characters."""
    del folder  # it lives in memory
    began = time.perf_counter()
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lengths = []
    for number, (_, title, text) in enumerate(beir.documents):
        counts = Counter(_plain_terms(f"{title} {text}"))
        lengths.append(counts.total())
        for term, count in counts.items():
            postings[term].append((number, count))
    mean = statistics.mean(lengths)
    ingest_s = time.perf_counter() - began

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

    return measure(beir, rank, ingest_s)


def _plain_terms(text: str) -> list[str]:
    terms: list[str] = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[a-z0-9]+", text.lower()):
        if run[0] < "\u4e00" or len(run) == 1:
            terms.append(run)
        else:
            terms.extend(run[at : at + 2] for at in range(len(run) - 1))
    return terms


PEERS = {"plain BM25 (Python)": plain_bm25, "LanceDB full text, ICU": lancedb_icu}


def compare(name: str, beir: Beir) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(beir, Path(folder))
        rows = []
        for peer, run in PEERS.items():
            theirs = run(beir, Path(folder))
            rows.append(_row(f"{name} nDCG@10", peer, mine.ndcg, theirs.ndcg, "", 1.0))
        # The textbook in a Python dictionary is no peer in speed; the bare index is.
        rows += [
            _row(f"{name} query p50", peer, mine.p50_ms, theirs.p50_ms, "ms", 3.0, less=True),
            _row(f"{name} query p95", peer, mine.p95_ms, theirs.p95_ms, "ms", 3.0, less=True),
            _row(f"{name} ingest", peer, mine.megabytes_s, theirs.megabytes_s, "MB/s", 0.3),
            _row(f"{name} ingest", "", mine.chunks_s, None, "chunks/s", None),
        ]
    return rows


def _row(
    work: str,
    peer: str,
    mine: float,
    theirs: float | None,
    unit: str,
    goal: float | None,
    *,
    less: bool = False,
) -> dict[str, Any]:
    """`goal` bounds the ratio ours / theirs: from above where `less` is better, else from below."""
    ratio = None if theirs is None else round(mine / theirs, 3)
    met = None
    if ratio is not None and goal is not None:
        met = ratio <= goal if less else ratio >= goal
    sign = "<=" if less else ">="
    return {
        "work": work,
        "peer": peer,
        "ours": round(mine, 4),
        "theirs": None if theirs is None else round(theirs, 4),
        "unit": unit,
        "ratio": ratio,
        "goal": None if goal is None else f"{sign} {goal}",
        "met": met,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact and stard")
    data = parser.parse_args().data
    found = [name for name in SETS if (data / name).is_dir()]
    if not found:
        parser.error(f"{data} holds none of {', '.join(SETS)}")
    rows = [row for name in found for row in compare(name, read_beir(data / name))]
    for row in rows:
        print(
            "{work:22} {ours:>10} {unit:9} {theirs!s:>10} {ratio!s:>7} {goal!s:>7} {met!s:6} {peer}".format(
                **row
            )
        )
    machine = {"cpus": os.cpu_count(), "cpu": platform.processor() or platform.machine()}
    machine["load_average"] = round(os.getloadavg()[0], 1)  # others' work shows in the times
    machine["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    machine["python"] = platform.python_version()
    record("knowledge", rows, ("lancedb", "semantic-text-splitter"), machine=machine)


if __name__ == "__main__":
    main()
