"""The embedder in the package beside full text, and beside two plain makers of vectors.

`python -m bench.embedder --data FOLDER` prints nDCG@10 and speed, and with `--card MODEL` writes the
figures into that model's card. Vectors are compared exactly, whole text to whole text; `fused` is the
whole system: cutting, indexing, searching both ways, merging. Sets named `zh-en` ask in Chinese for
English texts that were held back by their hash (bench/pairs.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import AutoModel, AutoTokenizer

from baigong.hub.hub import FOUNDATION
from baigong.inference.static import StaticEmbed
from baigong.knowledge.measure import ndcg, ranked_documents
from baigong.knowledge.terms import terms
from baigong.tuning.embedder.card import write_card
from bench import pairs
from bench.knowledge.beir import read_beir
from bench.knowledge.stage import Asker, Texts, fill, fresh_bases
from bench.record import record

Floats = NDArray[np.float32]
Vectors = Callable[[Sequence[str]], Floats]

CHUNKS_FOR_TEN_DOCUMENTS = 20  # passages asked for, so that ten documents are among them
SIZE = 256  # of the peers' vectors, as of ours
GOALS = {"scifact": 0.70, "stard": 0.56, "stard + 59k articles": 0.42}
ACROSS = 0.60  # vectors alone, zh-en


@dataclass(frozen=True)
class Set:
    """Questions, texts, and for each question the places of the texts that answer it."""

    name: str
    questions: list[str]
    texts: list[str]
    relevant: list[set[int]]
    is_across: bool = False


def sets(data: Path) -> Iterator[Set]:
    for name in ("scifact", "stard"):
        yield _beir(name, data / "retrieval" / name)
    stard = _beir("stard + 59k articles", data / "retrieval" / "stard")
    seen = {_squeezed(text.partition("\n")[2]) for text in stard.texts}
    for title, text in _articles(data):
        if _squeezed(text) not in seen:
            seen.add(_squeezed(text))
            stard.texts.append(f"{title}\n{text}")
    yield stard
    noise = _paragraphs(data)
    yield from (_tatoeba(data), _python(data, noise), _tldr(data, noise), _guide(data, noise))
    rows = [
        row
        for row in pairs.lines(data / "health/medquad_answered.jsonl.gz")
        if pairs.held_back(row["question"])
    ]
    places: list[set[int]] = [{place} for place in range(len(rows))]
    yield Set("medquad", [r["question"] for r in rows], [r["answer"] for r in rows], places)


def _beir(name: str, folder: Path) -> Set:
    beir = read_beir(folder)
    places = {one: place for place, (one, _, _) in enumerate(beir.documents)}
    return Set(
        name,
        [text for _, text in beir.questions],
        [f"{title}\n{text}" for _, title, text in beir.documents],
        [{places[one] for one in beir.relevant[question]} for question, _ in beir.questions],
    )


def _articles(data: Path) -> Iterator[tuple[str, str]]:
    pattern = re.compile(r"^(第\S{1,8}条(?:之\S)?)\s+(.+(?:\n(?!第\S{1,8}条|#).*)*)", re.MULTILINE)
    for row in pairs.lines(data / "law/lawrefbook_laws.jsonl.gz"):
        title = row["text"].split("\n", 1)[0].strip("# ")
        for number, text in pattern.findall(row["text"]):
            yield title + number, text.strip()


def _squeezed(text: str) -> str:
    return "".join(re.findall(r"\w", text))


def _paragraphs(data: Path) -> list[str]:
    """English paragraphs that answer nothing here."""
    rows = pairs.lines(data / "pretrain/enwiki.jsonl.gz")[:3000]
    return [part for row in rows for part in row["text"].split("\n") if len(part) > 200][:3000]


def _tatoeba(data: Path) -> Set:
    held = pairs.tatoeba_split(data)[1]
    texts = list(dict.fromkeys(english for _, english in held))
    relevant: dict[str, set[int]] = {}
    for chinese, english in held:
        relevant.setdefault(chinese, set()).add(texts.index(english))
    return Set("zh-en sentences", list(relevant), texts, list(relevant.values()), is_across=True)


def _across(name: str, rows: Sequence[tuple[list[str], str]], noise: list[str]) -> Set:
    """`rows` of Chinese questions and the English text that answers them all."""
    rows = [(questions, text) for questions, text in rows if questions]
    asked = [(one, place) for place, (several, _) in enumerate(rows) for one in several]
    texts = [text for _, text in rows] + noise
    return Set(name, [one for one, _ in asked], texts, [{at} for _, at in asked], is_across=True)


def _sentences(chinese: str, count: int) -> list[str]:
    parts = re.split(r"(?<=[。！？；])", chinese)
    return [part for part in parts if len(re.findall(r"[\u4e00-\u9fff]", part)) >= 8][:count]


def _python(data: Path, noise: list[str]) -> Set:
    held = pairs.python_docs_split(data)[1]
    rows = [(_sentences(chinese, 1), english) for chinese, english in held if len(english) >= 150]
    return _across("zh-en Python manual", rows, noise)


def _tldr(data: Path, noise: list[str]) -> Set:
    rows = []
    for chinese, english in pairs.tldr_split(data)[1]:
        about, uses = pairs.tldr_page(english)
        asked = [told for told, _ in pairs.tldr_page(chinese)[1][:2]]
        rows.append((asked, " ".join([about, *(told for told, _ in uses)])))
    return _across("zh-en commands", rows, noise)


def _guide(data: Path, noise: list[str]) -> Set:
    held = pairs.guide_split(data)[1]
    rows = [(_sentences(chinese, 3), english) for chinese, english in held if len(english) > 200]
    return _across("zh-en guides", rows, noise)


def by_vectors(one: Set, vectors: Vectors) -> float:
    asked, known = vectors(one.questions), vectors(one.texts)
    gains = []
    for question, relevant in zip(asked, one.relevant, strict=True):
        near = known @ question
        best = np.argpartition(-near, 10)[:10]
        order = sorted(best.tolist(), key=lambda place: -near[place])
        gains.append(ndcg([str(at) for at in order], {str(at) for at in relevant}))
    return statistics.mean(gains)


def by_system(one: Set, embed: StaticEmbed) -> tuple[float, float]:
    """Full text alone, and with vectors."""
    texts = {}
    for place, text in enumerate(one.texts):
        title, _, rest = text.partition("\n")
        texts[f"{place}.md"] = f"# {title}\n\n{rest}" if rest else text
    with fresh_bases() as bases:
        fill(bases, "bench", Texts(texts), embed)
        return tuple(_asked(one, Asker(bases, "bench", use)) for use in (None, embed))  # type: ignore[return-value]


def _asked(one: Set, ask: Asker) -> float:
    gains = []
    for question, relevant in zip(one.questions, one.relevant, strict=True):
        passages = ask(question, CHUNKS_FOR_TEN_DOCUMENTS)
        ranked = [name.removesuffix(".md") for name in ranked_documents(passages)]
        gains.append(ndcg(ranked, {str(at) for at in relevant}))
    ask.close()
    return statistics.mean(gains)


def lsa(texts: Sequence[str]) -> Vectors:
    """Latent semantic analysis of the very texts that are searched."""
    weigh = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2)
    matrix = weigh.fit_transform(texts)
    reduce = TruncatedSVD(min(SIZE, matrix.shape[1] - 1), random_state=0).fit(matrix)

    def vectors(some: Sequence[str]) -> Floats:
        found = reduce.transform(weigh.transform(some))
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    return vectors


def base(some: Sequence[str]) -> Floats:
    """The means of `sapling`'s last hidden states."""
    tokenizer = AutoTokenizer.from_pretrained(FOUNDATION / "sapling")
    model = AutoModel.from_pretrained(FOUNDATION / "sapling", dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in some:
            ids = tokenizer(text or " ", return_tensors="pt", truncation=True, max_length=512)
            rows.append(model(input_ids=ids["input_ids"]).last_hidden_state[0].mean(0).numpy())
    found = np.stack(rows)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def quality(one: Set, embed: StaticEmbed) -> dict[str, Any]:
    row: dict[str, Any] = {"set": one.name, "questions": len(one.questions)}
    row["texts"] = len(one.texts)
    row["vectors"] = by_vectors(one, embed.vectors)
    row["lsa"] = by_vectors(one, lsa(one.texts))
    if one.name in {"stard", "zh-en sentences"}:  # the others take an hour
        row["base"] = by_vectors(one, base)
    row["words"], row["fused"] = by_system(one, embed)
    if one.is_across:
        row["goal"], row["met"] = f"vectors {ACROSS}", row["vectors"] >= ACROSS
    elif one.name in GOALS:
        goal = GOALS[one.name]
        row["goal"], row["met"] = f"fused {goal}", row["fused"] >= goal
    return {key: round(cell, 4) if isinstance(cell, float) else cell for key, cell in row.items()}


def speed(embed: StaticEmbed, texts: Sequence[str], language: str) -> list[dict[str, Any]]:
    """Chunks of about 1,000 bytes and questions, on all cores that the tokenizer takes."""
    chunks = [
        text
        for text in texts
        if 700 <= len(text.encode()) <= 1400 and pairs.is_chinese(text) == (language == "Chinese")
    ][:4000]
    parts = [chunks[at::8] for at in range(8)]  # new texts each time, as in an ingest
    times = []
    for part in parts:
        began = time.perf_counter()
        embed.vectors(part)
        times.append((time.perf_counter() - began) / len(part))
    each = statistics.median(times[1:])
    size = statistics.mean(len(text.encode()) for text in chunks)
    ids = statistics.mean(len(one.ids) for one in embed.tokenizer.encode_batch_fast(chunks))
    singles = []
    for text in chunks[:500]:
        began = time.perf_counter()
        embed.vectors([text[:40]])
        singles.append((time.perf_counter() - began) * 1000)
    return [
        {"work": f"{language} chunks", "chunks/s": round(1 / each), "tokens a chunk": round(ids)},
        {"work": f"{language} text", "MB/s": round(size / each / 1e6, 2)},
        {"work": f"{language} question", "p50 ms": round(statistics.median(singles), 3)},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=FOUNDATION / pairs.MODEL)
    parser.add_argument("--card", type=Path, help="a model whose card is to have the figures")
    arguments = parser.parse_args()
    embed = StaticEmbed(arguments.model)
    rows, texts = [], []
    for one in sets(arguments.data):
        rows.append(quality(one, embed))
        texts += one.texts[:3000]
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    times = [row for language in ("English", "Chinese") for row in speed(embed, texts, language)]
    print(*map(json.dumps, times), sep="\n")
    machine = {"cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    machine["python"] = platform.python_version()
    record("embedder", [*rows, *times], ("tokenizers", "lancedb"), machine=machine)
    if arguments.card:
        path = arguments.card / "training.json"
        facts = json.loads(path.read_text("utf-8"))
        facts["measured"] = rows
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (arguments.card / "README.md").write_text(write_card(facts), "utf-8")


if __name__ == "__main__":
    main()
