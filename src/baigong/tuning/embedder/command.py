"""One call from pairs to a model folder; the same call goes on after a stop at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from baigong.errors import Conflict
from baigong.tuning.embedder.export import export
from baigong.tuning.embedder.loop import Run, train
from baigong.tuning.embedder.pairs import Pair, read_pairs
from baigong.tuning.embedder.plan import Plan
from baigong.tuning.embedder.tokenizer import train_tokenizer
from baigong.tuning.files import write_whole
from baigong.types import Report

_SAMPLE = (
    5_000_000  # characters of Chinese that the tokenizer learns from, and twice that of others
)


def train_embedder(path: Path, folder: Path, report: Report, plan: Plan = Plan()) -> Path:  # noqa: B008  frozen
    """Train an embedder on the pairs of the JSONL file `path`; return FOLDER/model.

    `folder` keeps the state between two calls. What the card is to say of the sources (licence,
    credit) may lie beside the pairs, as NAME.sources.json.

    Raises:
        NotFound: there is no such file.
        DataProblems: lines that are not pairs.
        Conflict: the folder holds a run on other pairs or by another plan.
    """
    pairs = read_pairs(path)
    folder.mkdir(parents=True, exist_ok=True)
    _hold_to(folder, {"pairs": _digest(path), "plan": msgspec.to_builtins(plan)})
    tokenizer = _tokenizer(pairs, plan, folder)
    run = train(pairs, tokenizer, plan, folder, report)
    facts = _facts(pairs, plan, run, _sources(path))
    began, ended = ((folder / name).stat().st_mtime for name in ("run.json", "tokenizer.json"))
    facts["tokenizer_seconds"] = max(0, round(ended - began))
    export(run.table.vectors(), tokenizer, folder / "model", facts)
    return folder / "model"


def _hold_to(folder: Path, wanted: dict[str, Any]) -> None:
    """A folder belongs to one run: its pairs and its plan, but for how often it is kept."""
    path = folder / "run.json"
    wanted["plan"].pop("checkpoint_s")
    text = json.dumps(wanted, indent=1)
    if not path.is_file():
        write_whole(path, text.encode())
    elif path.read_text("utf-8") != text:
        raise Conflict(
            f"The folder {folder} holds a run on other pairs or by another plan.",
            hint="Give another folder.",
            param="out",
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tokenizer(pairs: Sequence[Pair], plan: Plan, folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
        random.Random(plan.seed).shuffle(texts)
        made = train_tokenizer(_sample(texts), plan.vocabulary)
        write_whole(path, made.to_str().encode())
    return Tokenizer.from_file(str(path))


def _sample(texts: Sequence[str]) -> list[str]:
    """Of Chinese half as many characters as of the rest, since one says as much as two or three."""
    room = {True: _SAMPLE, False: 2 * _SAMPLE}
    chosen = []
    for text in texts:
        is_chinese = 4 * sum("\u4e00" <= char <= "\u9fff" for char in text) > len(text)
        if room[is_chinese] > 0:
            room[is_chinese] -= len(text)
            chosen.append(text)
    return chosen


def _sources(path: Path) -> dict[str, dict[str, str]]:
    beside = path.with_suffix(".sources.json")
    if not beside.is_file():
        return {}
    told: dict[str, dict[str, str]] = json.loads(beside.read_text("utf-8"))
    return told


def _facts(
    pairs: Sequence[Pair], plan: Plan, run: Run, sources: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """What the card and `training.json` say."""
    counts = Counter(pair.source for pair in pairs)
    weights = {pair.source: pair.weight for pair in pairs}
    return {
        "name": sources.get("", {}).get("name", "embedder"),
        "licence": sources.get("", {}).get("licence", ""),
        "note": sources.get("", {}).get("note", ""),
        "pairs": len(pairs),
        "sources": [
            {"name": name, "pairs": count, "weight": weights[name], **sources.get(name, {})}
            for name, count in counts.most_common()
        ],
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "machine": f"{os.cpu_count()} CPU cores without an accelerator",
        "plan": msgspec.to_builtins(plan),
        "curve": [msgspec.to_builtins(point) for point in run.curve],
        "measured": [],
    }
