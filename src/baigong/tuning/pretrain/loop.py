"""The training loop: take a batch, step, report; checkpoint and export on the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from baigong.tuning.pretrain import checkpoint
from baigong.tuning.pretrain.batches import Batcher
from baigong.tuning.pretrain.checkpoint import Progress
from baigong.tuning.pretrain.measure import HeldBack
from baigong.tuning.pretrain.network import LossFunction, tensors
from baigong.tuning.pretrain.recipe import Language, PretrainRecipe

_REPORT_STEPS = 10


@dataclass(frozen=True)
class Report:
    """What a caller may show: one every few steps."""

    step: int
    tokens: int
    seconds: float
    fraction: float
    loss: float
    tokens_per_s: float
    bits_per_byte: dict[Language, float]

    @property
    def seconds_left(self) -> float:
        return self.seconds * (1 / max(1e-9, self.fraction) - 1)


@dataclass
class Run:
    """Everything the loop holds. `wants_stop` is set from outside, by a signal."""

    recipe: PretrainRecipe
    folder: Path
    model: Any
    optimisers: list[torch.optim.Optimizer]
    loss: LossFunction
    tokenizer: Tokenizer
    batcher: Batcher
    held_back: dict[Language, HeldBack]
    progress: Progress
    show: Callable[[Report], None]
    export: Callable[[Run], None]
    wants_stop: bool = False
    bits: dict[Language, float] = field(default_factory=dict)
    recent: list[tuple[float, int, float]] = field(default_factory=list)  # loss, tokens, seconds

    @property
    def fraction(self) -> float:
        """How much of the budget is spent. The learning rate follows it, so that a slow or shared
        machine still ends with the rate at zero, only after fewer steps."""
        budget = self.recipe.budget
        if budget.steps is not None:
            return self.progress.step / budget.steps
        assert budget.minutes is not None
        return self.progress.seconds / (60 * budget.minutes)

    @property
    def is_done(self) -> bool:
        return self.fraction >= 1.0


def train(run: Run) -> bool:
    """True when the budget is spent; False when stopped before, with everything saved."""
    saved = exported = time.monotonic()
    if run.progress.step == 0:
        run.export(run)
    while not run.is_done and not run.wants_stop:
        _step(run)
        if run.progress.step % run.recipe.budget.evaluate_steps == 0 or run.is_done:
            _measure(run)
        if run.progress.step % _REPORT_STEPS == 0 or run.is_done:
            _report(run)
        if time.monotonic() - saved > run.recipe.budget.checkpoint_s:
            checkpoint.save(run.folder, run.model, run.optimisers, run.progress)
            saved = time.monotonic()
        if time.monotonic() - exported > run.recipe.budget.export_s:
            run.export(run)
            exported = time.monotonic()
    if run.is_done:
        run.progress.finished = run.progress.finished or now()
    checkpoint.save(run.folder, run.model, run.optimisers, run.progress)
    return run.is_done


def _step(run: Run) -> None:
    """One batch through the model and the optimisers; its time is what the budget counts."""
    begun = time.monotonic()
    schedule, progress = run.recipe.schedule, run.progress
    is_long = run.fraction >= schedule.long_from
    sequence = schedule.long_sequence if is_long else schedule.sequence
    batch = run.batcher.next(progress.position, progress.step, sequence, run.fraction)
    rows = max(1, schedule.micro_tokens // sequence)
    total = max(1.0, float(batch.weights.sum()))
    loss = 0.0
    for start in range(0, len(batch.inputs), rows):
        part = run.loss(*tensors(batch, slice(start, start + rows), run.recipe.device)) / total
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), schedule.clip)
    _set_rates(run)
    for optimiser in run.optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    progress.step += 1
    progress.tokens += batch.num_tokens
    progress.seconds += time.monotonic() - begun
    run.recent.append((loss, batch.num_tokens, time.monotonic() - begun))


def _set_rates(run: Run) -> None:
    """Warm up, hold, then a straight line to zero at the end of the budget."""
    schedule = run.recipe.schedule
    warm = min(1.0, (run.progress.step + 1) / max(1, schedule.warmup_steps))
    left = max(0.0, 1.0 - run.fraction)
    scale = warm * min(1.0, left / max(1e-9, schedule.cooldown))
    for optimiser, rate in zip(
        run.optimisers, (schedule.matrix_lr, schedule.embedding_lr), strict=True
    ):
        for group in optimiser.param_groups:
            group["lr"] = rate * scale


def _measure(run: Run) -> None:
    device = run.recipe.device
    run.bits = {
        language: round(rows.bits_per_byte(run.loss, device), 4)
        for language, rows in run.held_back.items()
    }


def _report(run: Run) -> None:
    losses, tokens, seconds = zip(*run.recent, strict=True)
    report = Report(
        step=run.progress.step,
        tokens=run.progress.tokens,
        seconds=round(run.progress.seconds, 1),
        fraction=min(1.0, run.fraction),
        loss=round(sum(losses) / len(losses), 4),
        tokens_per_s=round(sum(tokens) / max(1e-9, sum(seconds)), 1),
        bits_per_byte=dict(run.bits),
    )
    run.recent.clear()
    run.bits = {}
    append_curve(run.folder, report)
    run.show(report)


def append_curve(folder: Path, report: Report) -> None:
    row: dict[str, Any] = {
        "step": report.step,
        "tokens": report.tokens,
        "seconds": report.seconds,
        "loss": report.loss,
    }
    if report.bits_per_byte:
        row["bits_per_byte"] = report.bits_per_byte
    with (folder / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_curve(folder: Path, last_step: int) -> list[dict[str, Any]]:
    """Rows after the checkpoint belong to steps that a kill has undone; a torn last line too."""
    path = folder / "curve.jsonl"
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= last_step:
            rows[row["step"]] = {**rows.get(row["step"], {}), **row}
    return list(rows.values())


def rewind_curve(folder: Path, last_step: int) -> None:
    lines = [json.dumps(row) + "\n" for row in read_curve(folder, last_step)]
    checkpoint.write_atomically(folder / "curve.jsonl", "".join(lines))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
