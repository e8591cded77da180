"""What a tuning would do, before it is begun: rows, tokens, steps, memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from baigong.compute import usable_cores
from baigong.errors import InvalidInput
from baigong.tuning.base import Base, read_base
from baigong.tuning.examples.rows import Prepared, read_rows
from baigong.tuning.memory import Held
from baigong.tuning.objectives import examples_of
from baigong.tuning.spec import REFERRED, Settings, TuneSpec, resolve
from baigong.tuning.teacher import check_teacher
from baigong.types import Row

_START_S = 8.0  # importing torch, transformers and peft, and reading a small model
# Training against a plain float32 product, measured with a base of 6.5 M weights in batches of 16:
# 0.77 of its rate in float32, 1.13 where the processor multiplies bfloat16.
_EFFICIENCY = 0.8
# Of that, what is left where answers are sampled, a token of each at a time.
_SAMPLING_EFFICIENCY = 0.5


class TunePlan(msgspec.Struct, frozen=True):
    """What one tuning comes to.

    Attributes:
        settings: every hyper-parameter, those left to "auto" resolved.
        rows: to train on.
        validation_rows: that the loss is also measured on, and the best weights are chosen by.
        dropped: training rows left out, by reason.
        tokens: in the training rows, once through.
        answer_tokens: those of them that carry loss.
        longest_row: in tokens.
        context: of the base, in tokens.
        parameters: of the base.
        trainable_parameters: of the adapter, or of the base when it is tuned as a whole.
        memory_bytes: about what the training process will hold.
        seconds: about how long it takes on this machine when it has little else to do.
        shortened: whether `max_minutes` cut the automatic number of epochs.
    """

    settings: Settings
    rows: int
    validation_rows: int
    dropped: dict[str, int]
    tokens: int
    answer_tokens: int
    longest_row: int
    context: int
    parameters: int
    trainable_parameters: int
    memory_bytes: int
    seconds: float
    shortened: bool = False

    @property
    def sentence(self) -> str:
        """The plan in one line for a person."""
        s = self.settings
        size = f"rank {s.rank}" if s.is_adapter else "all weights"
        judged = f"the best of them by {self.validation_rows} validation rows, "
        return (
            f"{s.method} ({size}), {self.rows} rows of {self.tokens:,} tokens, {s.epochs:g} epochs, "
            f"{s.steps} steps, {judged if self.validation_rows else ''}about {self.seconds / 60:.1f} minutes and "
            f"{self.memory_bytes / 2**30:.1f} GiB"
        )


def plan_tuning(rows: Path | Sequence[Row], base: Path, spec: TuneSpec | None = None) -> TunePlan:
    """What tuning `base` on `rows` would come to. Blocks for a probe of about 0.1 s.

    Raises:
        DataProblems, InvalidInput: the rows cannot be read, or none can be trained on.
        NotFound, Unsupported: the folder is no model that can be tuned.
    """
    facts = read_base(base)
    spec = spec or TuneSpec()
    check_teacher(base, spec)
    return plan_prepared(examples_of(read_rows(rows), base, facts.context, spec), facts, spec)


def plan_prepared(prepared: Prepared[Any], base: Base, spec: TuneSpec | None = None) -> TunePlan:
    """The plan for rows that are token ids already."""
    spec = spec or TuneSpec()
    count = len(prepared.train)
    settings = resolve(spec, count, base.parameters)
    if settings.is_adapter and not base.linear:
        raise InvalidInput(
            f"{base.folder.name} has no linear layers that an adapter could cover.",
            hint="Use tune.method: full.",
            param="tune.method",
        )
    if settings.is_adapter and settings.rank > base.widest:
        raise InvalidInput(
            f"tune.rank is {settings.rank}, and no layer of the base is wider than {base.widest}.",
            hint=f"Set tune.rank to at most {base.widest}: more adds weights that change nothing.",
            param="tune.rank",
        )
    teacher = read_base(Path(spec.teacher)) if spec.teacher else None
    seconds = _seconds(prepared, base, settings, teacher)
    shortened = False
    if spec.max_minutes is not None and seconds > (limit := 60 * spec.max_minutes):
        share = max(0.0, limit - _START_S) / max(1e-9, seconds - _START_S)
        settings = _fewer_epochs(spec, settings, share, count, base.parameters)
        seconds, shortened = _seconds(prepared, base, settings, teacher), True
    trained, others = _trainable(base, settings), _others(base, settings, teacher)
    return TunePlan(
        settings=settings,
        rows=count,
        validation_rows=min(len(prepared.validation), settings.watched_rows),
        dropped=prepared.dropped,
        tokens=prepared.tokens,
        answer_tokens=prepared.scored,
        longest_row=prepared.longest,
        context=base.context,
        parameters=base.parameters,
        trainable_parameters=trained,
        memory_bytes=Held(prepared, base, settings, trained, others).total,
        seconds=seconds,
        shortened=shortened,
    )


def _fewer_epochs(
    spec: TuneSpec, settings: Settings, share: float, rows: int, parameters: int
) -> Settings:
    """As many epochs as fit, whole ones where there is more than one."""
    epochs = settings.epochs * share
    epochs = float(math.floor(epochs)) if epochs > 1 else max(0.05, epochs)
    return resolve(msgspec.structs.replace(spec, epochs=epochs), rows, parameters)


def _trainable(base: Base, settings: Settings) -> int:
    if not settings.is_adapter:
        return base.parameters
    return settings.rank * sum(base.linear.values())


def _others(base: Base, settings: Settings, teacher: Base | None) -> int:
    """Weights that are only read: a teacher's, or the base's own beside one that is tuned whole."""
    if teacher is not None:
        return teacher.parameters
    return base.parameters if settings.beta and not settings.is_adapter else 0


def _seconds(
    prepared: Prepared[Any], base: Base, settings: Settings, teacher: Base | None
) -> float:
    """Floating-point operations over the rate of a plain matrix product, measured just now.

    Per token and weight: forward 2 and backward 2 through what is frozen, and 2 more where the
    weight itself has a gradient. A teacher reads every token once; what is sampled is read, token by
    token, before it is learnt from. What preferences are held against is one pass over all rows.
    """
    own = _trainable(base, settings) if settings.is_adapter else base.products / 3
    watched = prepared.validation[: settings.watched_rows]
    validation: int = sum(example.length for example in watched)
    passes = settings.evaluations
    forward_only = validation * passes / 3
    work: float = (prepared.tokens * settings.epochs + forward_only) * (4 * base.products + 6 * own)
    work += prepared.scored * settings.epochs * 4 * base.hidden * base.vocabulary
    if teacher is not None:
        each = prepared.tokens * teacher.products + prepared.scored * base.hidden * base.vocabulary
        work += (settings.epochs + passes / 10) * 2 * each
    if settings.objective in REFERRED:
        work += (prepared.tokens + validation) * 2 * base.products
    if settings.objective == "grpo":
        asked = sum(example.scored for example in watched)
        sampled = prepared.scored * settings.epochs + asked * passes
        head = base.hidden * base.vocabulary
        work += sampled * 2 * (base.products + own + head) / _SAMPLING_EFFICIENCY
    return _START_S + work / (_EFFICIENCY * _matrix_rate() * usable_cores())


def _matrix_rate() -> float:
    """Floating-point operations per second of processor time in a float32 product, on one core."""
    side = 64  # so small that numpy's library keeps it on the calling thread
    matrix, product = np.ones((side, side), np.float32), np.empty((side, side), np.float32)
    rounds, started = 0, time.thread_time()
    while (spent := time.thread_time() - started) < 0.05:
        for _ in range(100):
            np.matmul(matrix, matrix, out=product)
        rounds += 100
    return rounds * 2 * side**3 / spent
