"""Tune a base on rows: a process of its own that can be killed at any moment and called again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from baigong.compute import ProcessFailed, gpus, run, usable_cores
from baigong.errors import Conflict, InvalidInput, StorageFull
from baigong.store.room import is_full
from baigong.tuning import curve
from baigong.tuning.base import Base, read_base
from baigong.tuning.curve import Point
from baigong.tuning.examples.rows import read_rows
from baigong.tuning.files import is_partial, write_whole
from baigong.tuning.job import (
    CHECKPOINT_FILE,
    CHECKPOINTS_FOLDER,
    DISK_FULL,
    DIVERGED,
    JOB_FILE,
    POINT_FILE,
    RESULT_FILE,
    ROWS_FILE,
    UNSUITED,
    Line,
    Result,
    TuneJob,
    read_job,
)
from baigong.tuning.objectives import examples_of
from baigong.tuning.plan import plan_prepared
from baigong.tuning.spec import Settings, TuneSpec
from baigong.tuning.teacher import check_teacher
from baigong.types import Progress, Report, Row

_TRAINER = "baigong.tuning.trainer"
_WEIGHTS_SAMPLE_BYTES = 1 << 20
_GRACE_S = 20.0  # for the step that runs and a checkpoint, when it is asked to stop


class Diverged(InvalidInput):
    """A tuning whose loss is no number any more."""


class TuneResult(msgspec.Struct, frozen=True):
    """What a tuning made. Losses are nats per answer token.

    Attributes:
        folder: the adapter in PEFT's own format, or a whole model folder.
        settings: the hyper-parameters that made it.
        steps: done; fewer than planned when the time limit shortened the run.
        tokens: seen in training, padding left out.
        seconds: of training, interruptions left out.
        loss: of the last steps.
        validation_loss: of the weights that were kept; None without validation rows.
        validation_accuracy: share of validation rows that greedy decoding reproduces whole.
        best_step: the step whose weights were kept.
        curve: the points of the loss curve, also in `curve.json` beside `folder`.
    """

    folder: Path
    settings: Settings
    steps: int
    tokens: int
    seconds: float
    loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    best_step: int
    curve: list[Point]


async def tune(
    rows: Path | Sequence[Row],
    base: Path,
    spec: TuneSpec | None = None,
    workdir: Path = Path("tune"),
    report: Report | None = None,
) -> TuneResult:
    """Tune `base` on the training rows; the same call goes on where a kill ended the last one.

    Of the weights met at each evaluation those are kept that reproduce most validation rows,
    among equals those of least loss; without validation rows, the last.

    Args:
        rows: JSONL of Row, or the rows. Test rows are not looked at.
        base: model folder.
        spec: what is not given is chosen from the data and the size of the base.
        workdir: holds the run; nothing else may be in it. A finished one answers at once.
        report: told every few steps, in tokens, with loss and seconds left as metrics.

    Raises:
        DataProblems, InvalidInput: rows or spec have mistakes, or the base cannot learn this.
        Conflict: the folder holds the tuning of other rows, another base or other settings.
        StorageFull: no room left; free some and call again.
        OutOfMemory: the training process got no memory; the hint says what to lower.
        Diverged: the loss is no number any more; the last checkpoint stays.
        ProcessFailed: it ended otherwise; the message closes with its last words.
    """
    try:
        job = await asyncio.to_thread(lay_job, rows, base, spec or TuneSpec(), workdir)
    except OSError as error:
        if not is_full(error):
            raise
        raise _storage_full(workdir) from error
    if not (workdir / RESULT_FILE).exists():
        await _train(workdir, report)
    return _read_result(workdir, job)


def lay_job(rows: Path | Sequence[Row], base: Path, spec: TuneSpec, workdir: Path) -> TuneJob:
    """Write rows as ids and the job file, or check that those there are of the same job."""
    facts = read_base(base)
    listed = read_rows(rows)
    digest = _digest(listed, facts, spec)
    if (workdir / JOB_FILE).exists():
        job = read_job(workdir)
        if job.digest != digest:
            raise Conflict(
                f"{workdir.name} holds the tuning of other rows, another base or other settings.",
                hint="Use an empty folder.",
            )
        if (job.base, job.teacher) != (str(base), spec.teacher):  # the same, elsewhere after a move
            job = msgspec.structs.replace(job, base=str(base), teacher=spec.teacher)
            write_whole(workdir / JOB_FILE, msgspec.json.encode(job))
        return job
    workdir.mkdir(parents=True, exist_ok=True)
    check_teacher(base, spec)
    prepared = examples_of(listed, base, facts.context, spec)
    plan = plan_prepared(prepared, facts, spec)
    write_whole(workdir / ROWS_FILE, msgspec.msgpack.encode(prepared))
    processes = spec.processes or max(1, gpus())
    job = TuneJob(
        digest=digest,
        base=str(base),
        settings=plan.settings,
        targets=facts.targets,
        tokens=round(plan.tokens * plan.settings.epochs),
        max_seconds=None if spec.max_minutes is None else 60 * spec.max_minutes,
        checkpoint_s=spec.checkpoint_s,
        threads=spec.threads or max(1, usable_cores() // processes),
        processes=processes,
        checkpoints=spec.checkpoints,
        teacher=spec.teacher,
    )
    write_whole(workdir / JOB_FILE, msgspec.json.encode(job))
    return job


def kept_checkpoints(workdir: Path) -> list[tuple[Path, Point]]:
    """The adapters of the last evaluations, the oldest first, and how the run stood then.

    Not while it trains: the folders move on with it.
    """
    found = sorted((workdir / CHECKPOINTS_FOLDER).glob(f"step-*/{POINT_FILE}"))
    decode = msgspec.json.Decoder(Point).decode
    return [
        (file.parent, decode(file.read_bytes())) for file in found if not is_partial(file.parent)
    ]


def _digest(rows: Sequence[Row], base: Base, spec: TuneSpec) -> str:
    """Stands for all that decides the result. Of the weights, sizes and samples are enough."""
    wish = msgspec.structs.replace(spec, threads=0, processes=0, checkpoint_s=0, checkpoints=0)
    if wish.teacher:  # its weights count, and not where they lie
        wish = msgspec.structs.replace(wish, teacher="?")
    used = sorted(
        (msgspec.structs.replace(row, source="", slices={}) for row in rows),
        key=lambda row: (row.id, row.split),
    )
    digest = sha256(msgspec.json.encode([used, wish]))
    folders = [base.folder, *([Path(spec.teacher)] if spec.teacher else [])]
    for file in [path for folder in folders for path in sorted(folder.iterdir())]:
        if file.is_file():
            digest.update(f"{file.name} {file.stat().st_size}".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(_WEIGHTS_SAMPLE_BYTES))
    return digest.hexdigest()


async def _train(workdir: Path, report: Report | None) -> None:
    def on_line(line: str) -> None:
        if report is not None:
            report(_progress(msgspec.json.decode(line, type=Line)))

    job = read_job(workdir)
    command = trainer_command(_TRAINER, workdir, job.processes)
    env = trainer_environment()
    try:
        await run(command, name="The training process", on_line=on_line, env=env, grace_s=_GRACE_S)
    except ProcessFailed as error:
        if error.exit_code == DISK_FULL:
            raise _storage_full(workdir) from error
        if error.exit_code == DIVERGED:
            raise _diverged(workdir, job, error.tail) from error
        if error.exit_code == UNSUITED:
            raise InvalidInput(_last_line(error.tail), param="base") from error
        if error.code == "out_of_memory":
            error.hint = "Lower tune.batch_size or tune.rank, or shorten the longest rows."
        raise


def trainer_environment() -> dict[str, str]:
    """What a training process runs in."""
    # Kernels are made for every length of rows; a thousand of them, as usual, are 0.3 GiB more.
    # Threads that spin while they wait would double the processor time on a shared machine:
    # 36 s against 26 s for the same steps beside one other busy process.
    return {
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        **os.environ,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def trainer_command(module: str, workdir: Path, processes: int) -> list[str]:
    """What starts a training, as several processes where there are more."""
    together = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [sys.executable, "-m", *(together if processes > 1 else ()), module, str(workdir)]


def _progress(line: Line) -> Progress:
    point = line.point
    metrics = {"loss": point.loss, "step": point.step, "steps": line.steps}
    metrics["seconds_left"] = line.seconds_left
    metrics |= point.figures
    metrics |= {"memory_bytes": line.memory_bytes, "checkpoint": line.checkpoint}
    note = f"step {point.step} of {line.steps}"
    if line.at_once:
        metrics["at_once"] = line.at_once
        note += f", out of memory: {line.at_once} tokens at once from here on"
    if point.validation_loss is not None and point.validation_accuracy is not None:
        metrics["validation_loss"] = point.validation_loss
        metrics["validation_accuracy"] = point.validation_accuracy
    return Progress(
        done=point.tokens,
        total=line.total_tokens,
        unit="tokens",
        rate=line.rate,
        metrics=metrics,
        note=note,
    )


def _read_result(workdir: Path, job: TuneJob) -> TuneResult:
    result = msgspec.json.decode((workdir / RESULT_FILE).read_bytes(), type=Result)
    return TuneResult(
        folder=workdir / result.folder,
        settings=job.settings,
        steps=result.steps,
        tokens=result.tokens,
        seconds=result.seconds,
        loss=result.loss,
        validation_loss=result.validation_loss,
        validation_accuracy=result.validation_accuracy,
        best_step=result.best_step,
        curve=curve.read(workdir),
    )


def _diverged(workdir: Path, job: TuneJob, said: str) -> Diverged:
    kept = "No checkpoint was due before it."
    if (workdir / CHECKPOINT_FILE).exists():
        kept = "The last checkpoint from before is kept."
    rate = job.settings.learning_rate
    return Diverged(
        f"The tuning stopped: {_last_line(said)} {kept}",
        hint=f"Set tune.learning_rate to {rate / 10:g} (it was {rate:g}), and look at the rows for"
        " what is unlike the rest.",
        param="tune.learning_rate",
    )


def _last_line(said: str) -> str:
    return said.strip().splitlines()[-1]


def _storage_full(workdir: Path) -> StorageFull:
    return StorageFull(
        f"There is no room left for the tuning in {workdir.name}.",
        hint="Free some disk space and run the same command again; it goes on from its checkpoint.",
    )
