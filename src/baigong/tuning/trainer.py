"""The training process: `python -m baigong.tuning.trainer FOLDER`, where `tune` has laid a job.

A plain loop over transformers and PEFT. TRL's SFTTrainer on the same 300 rows and a base of 6.5 M
weights took 1.65 times the processor time: without a GPU it multiplies every position with the
output head, and here only the answers' are wanted.

The loop knows no objective: a `learner.Learner` says what a batch costs. Everything a step does
follows from the step's number: its rows, its learning rate, the seed of what is random. So weights
and moments are all that a checkpoint holds, and a run that was killed ends with the bits of one
that was not (same processor kind, same number of threads and processes).
"""

from __future__ import annotations

import math
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError

from baigong.errors import InvalidInput
from baigong.store.room import is_full
from baigong.tuning import curve, memory
from baigong.tuning.checkpoint import Named, State, read_checkpoint, write_checkpoint
from baigong.tuning.curve import Point
from baigong.tuning.examples.rows import batches
from baigong.tuning.files import is_partial, write_folder, write_whole
from baigong.tuning.job import (
    CHECKPOINT_FILE,
    CHECKPOINTS_FOLDER,
    DISK_FULL,
    DIVERGED,
    POINT_FILE,
    RESULT_FILE,
    STOPPED,
    UNSUITED,
    Line,
    Result,
    TuneJob,
    read_job,
    read_prepared,
)
from baigong.tuning.learner import Gathers, learner_of
from baigong.tuning.weights import Weights
from baigong.tuning.workers import Workers

_POINTS = 200  # of the curve, about
_CLIP = 1.0
_EVALUATION_BATCH = 32
_SAFETY = 0.95  # of the time limit that a shortened run plans to use
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Diverged(Exception):
    """The loss or its gradient is no number any more."""


class Run:
    """One tuning from wherever it stands to its end."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self.workers = workers
        self.job: TuneJob = read_job(folder)
        self.settings = self.job.settings
        prepared = read_prepared(folder, self.settings.objective)
        watched = prepared.validation[: self.settings.watched_rows]
        prepared = msgspec.structs.replace(prepared, validation=watched)
        self.rows = prepared.train
        self.validation = sorted(prepared.validation, key=lambda example: example.length)
        self.learner = learner_of(self.job, prepared)
        self.weights = self.learner.weights
        self.trained: Named = dict(self.weights.trained)
        self.changing: Named = {**self.trained, **self.weights.running}
        self.optimizer = torch.optim.AdamW(
            list(self.trained.values()),
            lr=self.settings.learning_rate,
            weight_decay=0.0 if self.settings.is_adapter else 0.01,
            fused=True,
        )
        self.best: Named = {}
        self.state = State(steps=self.settings.steps, micro=tokens_at_once(self.weights))
        self.started = self.saved = time.monotonic()
        self.kept = 0
        self.before = 0.0
        self.spoken = (0, 0.0)
        self.at_once = 0
        self.is_stopping = False

    def finish(self) -> bool:
        """Train to the end and write the result; False if it was asked to stop before."""
        self.resume()
        lengths = [example.length for example in self.rows]
        order = batches(lengths, self.settings.batch_size, self.settings.seed)
        remaining: Iterator[list[int]] = islice(order, self.state.step, None)
        while self.state.step < self.state.steps:
            if self.workers.any(self.is_stopping):
                self.checkpoint()
                return False
            self.step([self.rows[index] for index in next(remaining)])
            if self.is_point:
                self.point()
        if self.workers.is_first:
            self.write()
        return True

    def stop(self, *_: object) -> None:
        """Keep a checkpoint after the step that runs, and end."""
        self.is_stopping = True

    # --- one step

    def step(self, examples: Sequence[Any]) -> None:
        """Forward, backward, update.

        Raises:
            Diverged: the loss or its gradient is no number; the weights are left as they are.
        """
        state, settings = self.state, self.settings
        self.weights.model.train()
        loss = self.gradients(examples)
        self.workers.add_gradients(self.trained.values())
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), _CLIP)
        if not math.isfinite(loss) or not bool(norm.isfinite()):
            raise Diverged(f"{loss} at step {state.step + 1}")
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * self.rate_factor(state.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.workers.agree(self.weights.running.values())
        state.step += 1
        state.tokens += sum(example.length for example in examples)
        state.losses.append(loss)

    def gradients(self, examples: Sequence[Any]) -> float:
        """The mean loss of a batch, with its gradients in the parameters.

        Where memory runs out the batch goes through in halves, and smaller ones, from then on.
        """
        counted = sum(example.counted for example in examples)
        mine = self.workers.share(examples)
        while True:
            parts = list(memory.split(mine, self.state.micro))
            total, failed = torch.zeros((), device=self.weights.device), False
            # Each process draws its own numbers, and a second try draws those of the first.
            torch.manual_seed(
                (self.settings.seed + self.workers.rank) * 1_000_003 + self.state.step
            )
            try:
                if isinstance(self.learner, Gathers):
                    with self.weights.autocast():
                        self.learner.gather(parts)
                for part in parts:
                    with self.weights.autocast():
                        loss = self.learner.loss(part) / counted
                    loss.backward()
                    total += loss.detach()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failed = True
            if not self.workers.any(failed):
                return float(self.workers.total(total))
            self.halve(max(map(len, parts), default=1))

    def halve(self, most: int) -> None:
        """Put half as much through the model at once; the most rows so far were `most`.

        Raises:
            MemoryError: it was one row already.
        """
        if not self.workers.any(most > 1):
            raise MemoryError("One row alone needs more memory than there is.")
        self.optimizer.zero_grad(set_to_none=True)
        self.state.micro //= 2
        self.at_once = self.state.micro
        if self.weights.device.type == "cuda":
            torch.cuda.empty_cache()

    def rate_factor(self, step: int) -> float:
        """Linear warm-up, then half a cosine to zero. `step` counts from 1."""
        warm = self.settings.warmup_steps
        if step <= warm:
            return step / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.state.steps - warm + 1)))

    # --- points: the curve, evaluation, checkpoints

    @property
    def is_point(self) -> bool:
        state = self.state
        every = max(1, -(-self.settings.steps // _POINTS))
        return state.step % every == 0 or self.is_evaluation

    @property
    def is_evaluation(self) -> bool:
        state = self.state
        return state.step % self.settings.evaluate_steps == 0 or state.step == state.steps

    @property
    def memory(self) -> int:
        """The most that was held so far, in bytes: of the GPU where there is one."""
        if self.weights.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def point(self) -> None:
        """Add a point to the curve, say so, and keep a checkpoint when one is due."""
        state = self.state
        loss = sum(state.losses) / len(state.losses)
        state.losses.clear()
        validation = accuracy = None
        if self.validation and self.is_evaluation:
            validation, accuracy = self.evaluate()
            self.keep_if_best(validation, accuracy)
        point = Point(
            state.step,
            state.tokens,
            self.seconds,
            loss,
            validation,
            accuracy,
            self.learner.figures(),
        )
        state.points.append(point)
        is_shorter = self.fit_to_limit()
        if self.workers.is_first:
            if self.job.checkpoints and self.is_evaluation and self.settings.makes_adapter:
                self.keep(point)
            self.say(point)
        due = time.monotonic() - self.saved >= self.job.checkpoint_s
        if (due or is_shorter) and state.step < state.steps:
            self.checkpoint()

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """The mean loss of the validation rows, and the share of them that the model gets right."""
        self.weights.model.eval()
        device = self.weights.device
        total, right = torch.zeros((), device=device), torch.zeros((), device=device)
        mine = self.workers.share(self.validation)
        for at in range(0, len(mine), _EVALUATION_BATCH):
            with self.weights.autocast():
                judged = self.learner.judge(mine[at : at + _EVALUATION_BATCH])
            total += judged.loss
            right += judged.is_right.sum()
        counted = sum(example.counted for example in self.validation)
        self.workers.total(total)
        self.workers.total(right)
        return float(total) / counted, float(right) / len(self.validation)

    def keep_if_best(self, loss: float, accuracy: float) -> None:
        """Keep the weights that reproduce most validation rows; of equals, those of least loss.

        Loss alone is a poor judge here: it rises with confidence while answers still improve.
        Where answers are long no row is ever reproduced, and loss decides.
        """
        rank = (accuracy, -loss, self.state.step)
        if self.state.best is None or rank[:2] > self.state.best[:2]:
            self.state.best = rank
            self.best = {name: p.detach().clone() for name, p in self.changing.items()}

    def fit_to_limit(self) -> bool:
        """Once a twentieth is done, shorten a run that would pass its time limit: True if it was.

        The learning rate then falls to zero at the new end. The new end is in the checkpoint.
        """
        state, limit = self.state, self.job.max_seconds
        if limit is None or state.fitted or state.step < max(10, state.steps // 20):
            return False
        state.fitted = True
        seconds = self.workers.of_first(self.seconds)
        left = max(0.0, _SAFETY * limit - seconds)
        affordable = state.step + int(left / (seconds / state.step))
        is_shorter = affordable < state.steps
        state.steps = min(state.steps, max(affordable, state.step + 1))
        return is_shorter

    def say(self, point: Point) -> None:
        total = round(self.job.tokens * self.state.steps / self.settings.steps)
        tokens, seconds = self.spoken
        rate = (point.tokens - tokens) / max(1e-6, point.seconds - seconds)
        self.spoken = (point.tokens, point.seconds)
        left = max(0, total - point.tokens) / max(1e-6, point.tokens / point.seconds)
        line = Line(
            point,
            self.state.steps,
            max(total, point.tokens),
            rate,
            left,
            self.memory,
            self.kept,
            self.at_once,
        )
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    def keep(self, point: Point) -> None:
        """Write the adapter as it is now beside those of the evaluations before."""
        folder = self.folder / CHECKPOINTS_FOLDER

        def fill(place: Path) -> None:
            self.weights.save(place)
            (place / POINT_FILE).write_bytes(msgspec.json.encode(point))

        write_folder(folder / f"step-{point.step:08d}", fill)
        whole = sorted(path for path in folder.iterdir() if not is_partial(path))
        for old in whole[: -self.job.checkpoints]:
            shutil.rmtree(old)

    # --- what survives a kill

    def checkpoint(self) -> None:
        """Write everything that the rest of the run depends on."""
        self.state.seconds = self.seconds
        if self.workers.is_first:
            path = self.folder / CHECKPOINT_FILE
            running = self.weights.running
            write_checkpoint(path, self.state, self.trained, self.optimizer, self.best, running)
        self.saved, self.kept = time.monotonic(), self.state.step

    def resume(self) -> None:
        """Stand where the last checkpoint stood, if there is one."""
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            return
        self.state, self.best = read_checkpoint(
            path, self.trained, self.optimizer, self.weights.device, self.weights.running
        )
        self.before, self.kept = self.state.seconds, self.state.step
        self.spoken = (self.state.tokens, self.before)

    def write(self) -> None:
        """The kept weights in their final form, the curve, and last of all the result."""
        state = self.state
        for name, tensor in self.best.items():
            self.changing[name].data.copy_(tensor)
        name = "adapter" if self.settings.makes_adapter else "model"
        write_folder(self.folder / name, self.weights.save)
        curve.write(state.points, self.folder)
        result = Result(
            folder=name,
            steps=state.step,
            tokens=state.tokens,
            seconds=self.seconds,
            loss=state.points[-1].loss,
            validation_loss=-state.best[1] if state.best else None,
            validation_accuracy=state.best[0] if state.best else None,
            best_step=state.best[2] if state.best else state.step,
            memory_bytes=self.memory,
        )
        write_whole(self.folder / RESULT_FILE, msgspec.json.encode(result))
        (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def tokens_at_once(weights: Weights) -> int:
    """How many units of length may go through the model together."""
    if weights.kept:
        return max(1, _room(weights, memory.SIGHT) // weights.kept)
    config = weights.model.config.get_text_config()
    layers, hidden = getattr(config, "num_hidden_layers", 12), getattr(config, "hidden_size", 768)
    room = _room(weights, memory.ROOM)
    return memory.tokens_at_once(layers, hidden, room, is_bfloat16=weights.has_bfloat16)


def _room(weights: Weights, usual: int) -> int:
    """Bytes for what backward passes keep; `usual` are those on a processor."""
    if weights.device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0] // 2)
    return usual


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the processor had no room for a tensor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _NO_MEMORY)


def main(arguments: list[str]) -> int:
    """Exit code 0, or one that `job` names."""
    workers = Workers()
    try:
        run = Run(Path(arguments[0]), workers)
        signal.signal(signal.SIGTERM, run.stop)
        return 0 if run.finish() else STOPPED
    except Diverged as error:
        sys.stderr.write(f"The loss became {error}.\n")
        return DIVERGED
    except InvalidInput as error:
        sys.stderr.write(f"{error}\n")
        return UNSUITED
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        sys.stderr.write(f"{error}\n")
        return DISK_FULL
    finally:
        workers.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
