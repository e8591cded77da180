"""A folder of plain text into an index, beside LlamaIndex's pipeline with the same embedder."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def measure(data: Path, home: Path) -> Iterator[dict[str, Any]]:
    """Both read the same files from a disk that has just written them; the better of two runs."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        size = _write(folder, data)
        mine, chunks = min(_ours(folder) for _ in range(RUNS))
        theirs = min(_theirs(folder, home) for _ in range(RUNS))
    rate = size / 1e6 / mine
    peer = "LlamaIndex"
    yield row("ingest of plain text", rate, "MB/s", goal=5, peer=peer, theirs=size / 1e6 / theirs)
    yield row("ingest of plain text", chunks / mine, "chunks/s")


def _write(folder: Path, data: Path) -> int:
    size = 0
    for wiki in ("enwiki", "zhwiki"):
        for number, article in enumerate(rows_of(data / "pretrain" / wiki)[:3000]):
            text = f"{article['title']}\n\n{article['text']}"
            (folder / f"{wiki}-{number}.txt").write_text(text, "utf-8")
            size += len(text.encode())
    return size


def _ours(folder: Path) -> tuple[float, int]:
    embed = built_in()
    with fresh_bases() as bases:
        prepare(bases, "bench", embed)
        began = time.perf_counter()
        summary = ingest(bases, "bench", [Folder(folder)], embed)
        return time.perf_counter() - began, summary.chunks


def _theirs(folder: Path, home: Path) -> float:
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
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
