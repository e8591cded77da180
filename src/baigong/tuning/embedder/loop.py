"""The training loop: take a batch, step, report; keep all state in one file on the clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import sparse
from tokenizers import Tokenizer

from baigong.tuning.embedder.batches import Ints, Texts, order
from baigong.tuning.embedder.loss import contrast
from baigong.tuning.embedder.pairs import Pair
from baigong.tuning.embedder.plan import Plan
from baigong.tuning.embedder.table import Table
from baigong.tuning.files import write_whole
from baigong.types import Progress, Report

_STATE = "state.safetensors"
_TELL_EVERY = 20  # steps between two points of the curve


class Point(msgspec.Struct, frozen=True):
    """How a run stood after `step`; `loss` is the mean of the steps since the point before."""

    step: int
    loss: float


@dataclass
class Run:
    """`seconds` counts training only: an interrupted run does not grow older."""

    table: Table
    step: int = 0
    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list)


def train(
    pairs: Sequence[Pair], tokenizer: Tokenizer, plan: Plan, folder: Path, report: Report
) -> Run:
    """Train to the end from wherever `folder` stands. The same pairs and plan give the same table.

    After a kill at any moment too: what a step does depends on its number and the state before it.
    """
    tokens = [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]
    run = _load(Table(tokens, plan.size, plan.seed), folder)
    sides = [
        Texts.of([getattr(pair, side) for pair in pairs], tokenizer, plan.longest) for side in "ab"
    ]
    per_epoch = len(order(pairs, plan, 0))
    total = per_epoch * plan.epochs
    losses: list[float] = []
    told = saved = time.monotonic()
    steps: Any = None
    for number in range(run.step, total):
        if steps is None or number % per_epoch == 0:
            steps = order(pairs, plan, number // per_epoch)
        rate = plan.rate * (1 - number / total)
        losses.append(_step(run.table, sides, steps[number % per_epoch], number, rate, plan))
        run.step = number + 1
        if run.step % _TELL_EVERY and run.step != total:
            continue
        now = time.monotonic()
        run.seconds += now - told
        speed = len(losses) * plan.batch / max(now - told, 1e-9)
        told = now
        run.curve.append(Point(run.step, round(float(np.mean(losses)), 4)))
        losses.clear()
        metrics = {"loss": run.curve[-1].loss}
        report(Progress(run.step * plan.batch, total * plan.batch, "pairs", speed, metrics))
        # At a point of the curve only, so that a run that was killed has the same one.
        if now - saved >= plan.checkpoint_s or run.step == total:
            _save(run, folder)
            saved = now
    return run


def _step(
    table: Table, sides: Sequence[Texts], rows: Ints, number: int, rate: float, plan: Plan
) -> float:
    rng = np.random.default_rng([plan.seed, 1, number])
    vocabulary = table.parts.shape[0]
    counts = sparse.vstack(
        [side.counts(rows, 1 - plan.dropout, rng, vocabulary) for side in sides], format="csr"
    )
    ids, places = np.unique(counts.indices, return_inverse=True)
    some = sparse.csr_array((counts.data, places, counts.indptr), shape=(2 * len(rows), len(ids)))
    means = some @ table.vectors(ids)
    same = np.zeros((len(rows), len(rows)), np.bool_)
    for side in sides:
        keys = side.keys[rows]
        same |= keys[:, None] == keys
    np.fill_diagonal(same, False)
    loss, *gradients = contrast(means[: len(rows)], means[len(rows) :], same, plan.temperature)
    table.step(ids, some.T @ np.concatenate(gradients), rate)
    return loss


def _save(run: Run, folder: Path) -> None:
    about = {
        "step": str(run.step),
        "seconds": str(run.seconds),
        "curve": msgspec.json.encode(run.curve).decode(),
    }
    write_whole(folder / _STATE, save(run.table.state, metadata=about))


def _load(table: Table, folder: Path) -> Run:
    path = folder / _STATE
    if not path.is_file():
        return Run(table)
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata()
            table.state = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError):  # a disk that lost it: begin anew, to the same end
        return Run(table)
    curve = msgspec.json.decode(about["curve"], type=list[Point])
    return Run(table, int(about["step"]), float(about["seconds"]), curve)
