"""The stores of chunks side by side: rows in, tending, searches alone and by 8 clients, recall, memory.

`python -m bench.store --rows 10000 100000 --store lance qdrant`. Each case runs in a process of its
own, so that its peak of memory is its own. Vectors are 256-d and clustered; a tenth of all chunks is
for one of two groups of readers, and the filter leaves one chunk in a hundred.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baigong.knowledge.stores.lance import LanceStores
from baigong.knowledge.stores.mirror import Mirrors
from baigong.knowledge.stores.port import ChunkRow, Chunks, Scope, Stores
from baigong.knowledge.stores.qdrant import QdrantStores
from baigong.knowledge.where import Compare
from bench.record import FOLDER, record

SIZE = 256
PER_DOCUMENT = 10
BATCH = 10_000  # rows of one `replace`
WORDS = 20_000  # in the vocabulary, drawn by Zipf's law
CLIENTS = 8
FILTER = Scope(where=Compare("eq", "part", 7.0), readers=("staff",), now=1.0)

Vectors = NDArray[np.float32]


class Corpus:
    """Chunks that are made as they are asked for, the same for the same number."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(1)
        self.rows = rows
        self.centres = rng.normal(size=(max(10, rows // 500), SIZE)).astype(np.float32)
        weights = 1 / np.arange(1, WORDS + 1)
        self.chances = weights / weights.sum()

    def vectors(self, start: int, count: int) -> Vectors:
        rng = np.random.default_rng(start + 2)
        centres = self.centres[rng.integers(len(self.centres), size=count)]
        found = centres + rng.normal(size=(count, SIZE)).astype(np.float32) * np.float32(0.7)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    def chunks(self, start: int, count: int) -> list[ChunkRow]:
        rng = np.random.default_rng(start + 3)
        vectors = self.vectors(start, count)
        words = rng.choice(WORDS, size=(count, 60), p=self.chances)
        rows = []
        for n in range(count):
            text = " ".join(f"w{word}" for word in words[n])
            at = start + n
            rows.append(
                ChunkRow(
                    document=at // PER_DOCUMENT,
                    path=f"folder/{at // PER_DOCUMENT}.md",
                    title="A title of some words",
                    text=text + " " * 300,
                    terms=text,
                    start=n * 100,
                    end=n * 100 + 99,
                    page=n % 50,
                    metadata={"part": float(at // PER_DOCUMENT % 100), "kind": f"k{at % 7}"},
                    access=None if at % 10 else (("staff",) if at % 20 else ("board",)),
                    published_at=float(at),
                    expires_at=None if at % 3 else 1e12,
                    vector=vectors[n],
                )
            )
        return rows

    def questions(self, count: int) -> list[tuple[Vectors, list[str]]]:
        rng = np.random.default_rng(0)
        vectors = self.vectors(self.rows + 17, count)
        words = rng.choice(WORDS, size=(count, 4), p=self.chances)
        return [(vectors[n], [f"w{word}" for word in words[n]]) for n in range(count)]


def open_stores(name: str, folder: str) -> Stores:
    if name == "lance":
        return LanceStores(folder)
    if name == "lance index":  # nothing in memory
        return LanceStores(folder, mirrors=Mirrors(0))
    return QdrantStores(folder)


def fill(chunks: Chunks, corpus: Corpus) -> tuple[float, Vectors, NDArray[np.bool_]]:
    """Seconds of writing alone, all vectors, and which chunks the filter leaves."""
    taken, vectors, passing = 0.0, [], []
    for start in range(0, corpus.rows, BATCH):
        rows = corpus.chunks(start, min(BATCH, corpus.rows - start))
        vectors.append(np.stack([row.vector for row in rows if row.vector is not None]))
        passing += [
            row.metadata["part"] == 7.0 and (row.access is None or "staff" in row.access)
            for row in rows
        ]
        began = time.perf_counter()
        chunks.replace({row.document for row in rows}, rows)
        taken += time.perf_counter() - began
    return taken, np.concatenate(vectors), np.array(passing)


def recall(
    chunks: Chunks, questions: Sequence[Any], vectors: Vectors, scope: Scope, mask: Any
) -> float:
    """Of the ten nearest by comparing all, the share that was found: by cosine, so that ties count."""
    shares = []
    for vector, _ in questions:
        cosines = np.where(mask, vectors @ vector, -2.0)
        tenth = np.partition(cosines, -10)[-10]
        hits = chunks.near(vector, 10, scope)
        shares.append(sum(hit.score >= tenth - 1e-5 for hit in hits) / 10)
    return round(statistics.mean(shares), 4)


def timed(searches: Sequence[Callable[[], object]], clients: int = 1) -> dict[str, float]:
    """Milliseconds of a search, the searches shared out among the clients.

    `cpu_ms` is processor time of all threads, which says more than the clock on a shared machine.
    """
    for search in searches[:5]:
        search()
    times: list[float] = []

    def client(own: Sequence[Callable[[], object]]) -> None:
        for search in own:
            began = time.perf_counter()
            search()
            times.append(1000 * (time.perf_counter() - began))

    threads = [
        threading.Thread(target=client, args=(searches[n::clients],)) for n in range(clients)
    ]
    began, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(searches) / (time.perf_counter() - began)
    cpu_ms = 1000 * (time.process_time() - cpu) / len(searches)
    p50, p95 = np.percentile(times, [50, 95])
    figures = {"p50_ms": p50, "p95_ms": p95, "cpu_ms": cpu_ms, "per_second": rate}
    return {name: round(float(figure), 2) for name, figure in figures.items()}


def peak_gb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def case(name: str, rows: int, folder: str) -> dict[str, Any]:
    corpus = Corpus(rows)
    chunks = open_stores(name, folder).open("base", SIZE)
    took, vectors, passing = fill(chunks, corpus)
    result: dict[str, Any] = {"store": name, "rows": rows, "rows_s": round(rows / took)}
    result["peak_gb_filled"] = peak_gb()
    print(json.dumps(result), file=sys.stderr, flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    chunks.tend()
    result["tend_s"] = round(time.perf_counter() - began, 1)
    result["tend_cpu_s"] = round(time.process_time() - cpu, 1)
    result["peak_gb"] = peak_gb()
    print(json.dumps(result), file=sys.stderr, flush=True)
    asked = corpus.questions(300)
    everything = Scope()

    def words(scope: Scope) -> list[Callable[[], object]]:
        return [lambda terms=terms: chunks.words(terms, 10, scope) for _, terms in asked]

    def near(scope: Scope) -> list[Callable[[], object]]:
        return [lambda vector=vector: chunks.near(vector, 10, scope) for vector, _ in asked]

    def both(scope: Scope) -> list[Callable[[], object]]:
        return [lambda v=vector, t=terms: chunks.both(t, v, 10, scope) for vector, terms in asked]

    result["words"], result["words_filter"] = timed(words(everything)), timed(words(FILTER))
    result["near"], result["near_filter"] = timed(near(everything)), timed(near(FILTER))
    result["hybrid_filter"] = timed(both(FILTER))
    result["hybrid_filter_8_clients"] = timed(both(FILTER) * 3, CLIENTS)
    result["recall"] = recall(chunks, asked[:100], vectors, everything, np.ones(rows, bool))
    result["recall_filter"] = recall(chunks, asked[:100], vectors, FILTER, passing)
    began = time.perf_counter()
    for document in range(20):
        chunks.replace([document], corpus.chunks(document * PER_DOCUMENT, PER_DOCUMENT))
    result["replace_one_ms"] = round(1000 * (time.perf_counter() - began) / 20, 1)
    began = time.perf_counter()
    chunks.pin("p")
    result["pin_ms"] = round(1000 * (time.perf_counter() - began), 1)
    result["disk_mb"] = round(
        sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", nargs="+", default=["lance", "qdrant"])
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--one", action="store_true", help="one case in this process, as JSON")
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(case(asked.store[0], asked.rows[0], folder)))
        return
    path = FOLDER / "store.json"
    done = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    for name in asked.store:
        for rows in asked.rows:
            command = [sys.executable, "-m", "bench.store", "--one"]
            command += ["--store", name, "--rows", str(rows)]
            result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            print(json.dumps(result), flush=True)
            done = [row for row in done if (row["store"], row["rows"]) != (name, rows)] + [result]
            libraries = ["lancedb", "qdrant-edge-py"]
            record("store", done, libraries, machine=f"{platform.machine()}, 2 cores", size=SIZE)


if __name__ == "__main__":
    main()
