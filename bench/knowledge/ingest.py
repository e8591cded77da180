"""A folder of plain text into an index, beside LlamaIndex's pipeline with the same embedder."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from baigong.knowledge.connectors.folder import Folder
from baigong.knowledge.ingest import ingest
from baigong.knowledge.reindex import prepare
from bench.environment import interpreter
from bench.knowledge.beir import rows_of
from bench.knowledge.stage import EMBEDDER, built_in, fresh_bases
from bench.record import row

PACKAGES = ("llama-index-core==0.14.25", "llama-index-readers-file", "model2vec==0.10.0")
ROOT = Path(__file__).resolve().parents[2]
RUNS = 2


class _Took(NamedTuple):
    """Seconds on the clock and of all cores, and what came of it."""

    seconds: float
    processor: float
    chunks: int


def measure(data: Path, home: Path) -> Iterator[dict[str, Any]]:
    """Both read the same files from a disk that has just written them; the better of two runs.

    Ours cuts more than twice as many chunks, and leaves them on disk with an index of their words
    and one of their vectors; the peer's are in memory and have neither. Loading code and model
    counts on neither side. Processor time is that of all threads.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        size = _write(folder, data)
        mine = [_ours(folder) for _ in range(RUNS)]
        theirs = [_theirs(folder, home) for _ in range(RUNS)]
    peer, megabytes, chunks = "LlamaIndex", size / 1e6, mine[0].chunks
    works = ("ingest of plain text", "ingest of plain text, by processor time")
    for work, kind in zip(works, ("seconds", "processor"), strict=True):
        ours = min(getattr(one, kind) for one in mine)
        other = megabytes / min(getattr(one, kind) for one in theirs)
        yield row(work, megabytes / ours, "MB/s", goal=5, peer=peer, theirs=other)
        yield row(work, chunks / ours, "chunks/s")


def _write(folder: Path, data: Path) -> int:
    size = 0
    for wiki in ("enwiki", "zhwiki"):
        for number, article in enumerate(rows_of(data / "pretrain" / wiki)[:3000]):
            text = f"{article['title']}\n\n{article['text']}"
            (folder / f"{wiki}-{number}.txt").write_text(text, "utf-8")
            size += len(text.encode())
    return size


def _ours(folder: Path) -> _Took:
    embed = built_in()
    with fresh_bases() as bases:
        bases.chunks(prepare(bases, "bench", embed))
        began, used = time.perf_counter(), time.process_time()
        summary = ingest(bases, "bench", [Folder(folder)], embed)
        return _Took(time.perf_counter() - began, time.process_time() - used, summary.chunks)


def _theirs(folder: Path, home: Path) -> _Took:
    python = interpreter(home, "llamaindex", PACKAGES)
    script = Path(__file__).parent / "peers" / "llamaindex.py"
    done = subprocess.run(
        [str(python), str(script), str(folder), str(EMBEDDER)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
    )
    return _Took(**json.loads(done.stdout.strip().splitlines()[-1]))
