"""Try some settings and keep the best: a small sweep over rank, rate and epochs within a budget.

Optuna proposes (tree-structured Parzen estimators) and says which trial is not worth its end (the
median of the others at the same point). Trials are scored on validation rows alone. What was tried
is in a file, so that a kill costs what it costs a single tuning: the trial that ran goes on from its
checkpoint, and the proposals after it are those that would have followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from baigong.errors import InvalidInput
from baigong.tuning.files import write_whole
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import AUTO, Settings, TuneSpec
from baigong.tuning.tune import TuneResult, tune
from baigong.types import Progress, Report, Row

if TYPE_CHECKING:
    import optuna

TRIED_FILE = "tried.json"
_LOSS_SHARE = 1e-4  # of a nat, so that it decides between equal shares of right rows and no others
_WORST_LOSS = 30.0
_BEFORE_PRUNING = 2  # trials that run to their end whatever they look like


class Tried(msgspec.Struct, frozen=True):
    """A trial: what was chosen, and how it did on the validation rows (a higher score is better).

    `scores` has how it stood, by tenths of its steps; a trial that was stopped has no other.
    """

    choice: dict[str, float]
    state: Literal["running", "done", "stopped"] = "running"
    score: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    scores: dict[int, float] = {}
    seconds: float = 0.0


async def search(
    rows: Sequence[Row],
    base: Path,
    spec: TuneSpec,
    workdir: Path,
    report: Report | None = None,
) -> tuple[TuneResult, list[Tried]]:
    """The best of `spec.trials` tunings of `base`, and all that were tried, if they are more than one.

    The first trial is the automatic choice, so that the result is never worse on the validation
    rows. `spec.max_minutes` is for all trials together; one is always finished.

    Raises:
        InvalidInput: there are no validation rows to choose by, or nothing is left to choose.
        As `tune` otherwise.
    """
    if spec.trials == 1:
        return await tune(rows, base, spec, workdir, report), []
    if not any(row.split == "validation" for row in rows):
        raise InvalidInput(
            f"tune.trials is {spec.trials}, and there are no validation rows to choose by.",
            hint="Give data.split.validation a share, or leave tune.trials out.",
            param="tune.trials",
        )
    usual = await asyncio.to_thread(plan_tuning, rows, base, spec)
    sweep = _Sweep(spec, usual.settings, workdir)
    while (number := sweep.next()) is not None:
        await sweep.run(number, rows, base, report)
    best = max(
        (n for n, tried in enumerate(sweep.tried) if tried.state == "done"),
        key=lambda n: sweep.tried[n].score or 0.0,
    )
    return await tune(rows, base, sweep.spec_of(best), workdir / f"trial-{best}"), sweep.tried


class _Sweep:
    """The trials of one search, as the file in its folder has them."""

    def __init__(self, spec: TuneSpec, usual: Settings, folder: Path) -> None:
        import optuna  # noqa: PLC0415  half a second, and only a search needs it

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self.spec, self.usual, self.folder = spec, usual, folder
        self.space = _space(spec, usual)
        if not self.space:
            raise InvalidInput(
                f"tune.trials is {spec.trials}, and rank, learning_rate and epochs are all given.",
                hint='Leave one of them "auto" to have it chosen.',
                param="tune.trials",
            )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / TRIED_FILE
        found = path.read_bytes() if path.exists() else b"[]"
        self.tried = msgspec.json.decode(found, type=list[Tried])

    def next(self) -> int | None:
        """The number of the trial that runs or begins now; None when all is done."""
        if self.tried and self.tried[-1].state == "running":
            return len(self.tried) - 1
        if len(self.tried) == self.spec.trials or (self.tried and self._left() <= 0):
            return None
        self.tried.append(Tried(self._choice()))
        self._keep()
        return len(self.tried) - 1

    def spec_of(self, number: int) -> TuneSpec:
        """What a trial is tuned by."""
        choice = dict(self.tried[number].choice)
        if "rank" in choice:
            choice["rank"] = round(choice["rank"])
        return msgspec.structs.replace(self.spec, trials=1, **choice)

    async def run(
        self, number: int, rows: Sequence[Row], base: Path, report: Report | None
    ) -> None:
        """Run one trial to its end, or to where it is not worth its end any more."""
        tried = self.tried[number]
        trial = self._trial(tried)
        scores: dict[int, float] = {}
        is_stopped = False
        began = time.monotonic()

        def heard(progress: Progress) -> None:
            nonlocal is_stopped
            if report is not None:
                report(self._as_part(progress, number))
            if "validation_loss" not in progress.metrics:
                return
            tenths = round(10 * progress.done / progress.total)
            scores[tenths] = _score(
                progress.metrics["validation_accuracy"], progress.metrics["validation_loss"]
            )
            trial.report(scores[tenths], tenths)
            if trial.should_prune():
                is_stopped = True
                work.cancel()

        folder = self.folder / f"trial-{number}"
        work = asyncio.ensure_future(tune(rows, base, self.spec_of(number), folder, heard))
        try:
            result = await work
            accuracy, loss = result.validation_accuracy or 0.0, result.validation_loss or 0.0
            ended = Tried(tried.choice, "done", _score(accuracy, loss), accuracy, loss, scores)
        except asyncio.CancelledError:
            if not is_stopped:  # it was the search that was cancelled
                raise
            ended = Tried(tried.choice, "stopped", scores=scores)
        seconds = time.monotonic() - began
        self.tried[number] = msgspec.structs.replace(ended, seconds=seconds)
        self._keep()

    def _choice(self) -> dict[str, float]:
        """What the next trial takes; the first takes what is usual."""
        if not self.tried:
            return {name: getattr(self.usual, name) for name in self.space}
        return dict(self._study().ask(self.space).params)

    def _trial(self, tried: Tried) -> optuna.Trial:
        """Optuna's view of the trial that runs."""
        study = self._study()
        study.enqueue_trial(tried.choice)
        return study.ask(self.space)

    def _study(self) -> optuna.Study:
        """Optuna's view of what was tried before; the same for the same trials."""
        library = self._optuna
        seed = self.spec.seed + len(self.tried)
        study: optuna.Study = library.create_study(
            direction="maximize",
            sampler=library.samplers.TPESampler(seed=seed, n_startup_trials=4),
            pruner=library.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING),
        )
        states = {
            "done": library.trial.TrialState.COMPLETE,
            "stopped": library.trial.TrialState.PRUNED,
        }
        for tried in self.tried:
            if tried.state != "running":
                study.add_trial(
                    library.trial.create_trial(
                        state=states[tried.state],
                        params=tried.choice,
                        distributions=self.space,
                        value=tried.score,
                        intermediate_values=tried.scores,
                    )
                )
        return study

    def _as_part(self, progress: Progress, number: int) -> Progress:
        """A trial's progress as a part of the whole search."""
        share = progress.done / progress.total if progress.total else 0.0
        return msgspec.structs.replace(
            progress,
            done=number + share,
            total=self.spec.trials,
            unit="trials",
            metrics={**progress.metrics, "trial": number + 1},
            note=f"trial {number + 1} of {self.spec.trials}, {progress.note}",
        )

    def _left(self) -> float:
        """Seconds of the budget that are left; a trial like those before must fit."""
        if self.spec.max_minutes is None:
            return float("inf")
        spent = [tried.seconds for tried in self.tried]
        return 60 * self.spec.max_minutes - sum(spent) - sum(spent) / len(spent)

    def _keep(self) -> None:
        write_whole(self.folder / TRIED_FILE, msgspec.json.encode(self.tried))


def _score(accuracy: float, loss: float) -> float:
    """Right rows first; of equals, the one of less loss."""
    return accuracy - _LOSS_SHARE * min(loss, _WORST_LOSS)


def _space(spec: TuneSpec, usual: Settings) -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched: whatever is left "auto", around what is usual."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415

    space: dict[str, optuna.distributions.BaseDistribution] = {}
    if spec.learning_rate == AUTO:
        rate = usual.learning_rate
        space["learning_rate"] = FloatDistribution(rate / 4, min(1.0, rate * 4), log=True)
    if spec.rank == AUTO and usual.is_adapter:
        ranks = {max(1, int(usual.rank * share)) for share in (0.25, 0.5, 1, 2)}
        space["rank"] = CategoricalDistribution(sorted(ranks))
    if spec.epochs == AUTO:
        epochs = usual.epochs
        space["epochs"] = CategoricalDistribution([epochs * share for share in (0.5, 1.0, 1.5)])
    return space
