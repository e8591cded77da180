"""The training process: `python -m baigong.tuning.trainer FOLDER`, where `tune` has laid a job.

A plain loop over transformers and PEFT. TRL's SFTTrainer on the same 300 rows and a base of 6.5 M
weights took 1.65 times the processor time: without a GPU it multiplies every position with the
output head, and here only the answers' are wanted.

Everything a step does follows from the step's number: its rows, its learning rate, the seed of its
dropout. So weights and moments are all that a checkpoint holds, and a run that was killed ends with
the bits of one that was not (same processor kind, same number of threads).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from baigong.store.room import is_full
from baigong.tuning import curve
from baigong.tuning.curve import Point
from baigong.tuning.files import write_folder, write_whole
from baigong.tuning.job import (
    CHECKPOINT_FILE,
    DISK_FULL,
    RESULT_FILE,
    Line,
    Result,
    TuneJob,
    read_job,
    read_prepared,
)
from baigong.tuning.rows import Example, batches
from baigong.tuning.weights import Weights, load_weights

_POINTS = 200  # of the curve, about
_CLIP = 1.0
_EVALUATION_BATCH = 32
_IGNORED = -100
# Rows are padded to a multiple of this: the processor's library compiles a kernel for every shape
# that it meets, and keeps it. 60 steps of mixed lengths: 0.9 GiB against 1.4, and 0.85 of the time.
_WIDTHS = 8
_SAFETY = 0.95  # of the time limit that a shortened run plans to use


class State(msgspec.Struct):
    """Where a run stands, besides its tensors. `best` is (accuracy, -loss, step) of an evaluation."""

    step: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    fitted: bool = False
    best: tuple[float, float, int] | None = None
    points: list[Point] = []


class Run:
    """One tuning from wherever it stands to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: TuneJob = read_job(folder)
        self.settings = self.job.settings
        prepared = read_prepared(folder)
        self.rows = prepared.train
        self.validation = sorted(prepared.validation, key=lambda example: len(example.ids))
        self.weights: Weights = load_weights(self.job)
        self.model = self.weights.model
        self.trained = self.weights.trained
        self.optimizer = torch.optim.AdamW(
            list(self.trained.values()),
            lr=self.settings.learning_rate,
            weight_decay=0.0 if self.settings.method == "lora" else 0.01,
            fused=True,
        )
        self.best: dict[str, Tensor] = {}
        self.state = State(steps=self.settings.steps)
        self.losses: list[float] = []
        self.started = self.saved = time.monotonic()
        self.before = 0.0
        self.spoken = (0, 0.0)

    def finish(self) -> None:
        """Train to the end and write the result."""
        self.resume()
        lengths = [len(example.ids) for example in self.rows]
        order = batches(lengths, self.settings.batch_size, self.settings.seed)
        remaining: Iterator[list[int]] = islice(order, self.state.step, None)
        while self.state.step < self.state.steps:
            self.step([self.rows[index] for index in next(remaining)])
            if self.is_point:
                self.point()
        self.write()

    # --- one step

    def step(self, examples: list[Example]) -> None:
        """Forward, backward, update."""
        state, settings = self.state, self.settings
        torch.manual_seed(settings.seed * 1_000_003 + state.step)
        self.model.train()
        with self.autocast():
            loss, _ = self.loss(examples)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.values(), _CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * self.rate_factor(state.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += sum(len(example.ids) for example in examples)
        self.losses.append(loss.item())

    def rate_factor(self, step: int) -> float:
        """Linear warm-up, then half a cosine to zero. `step` counts from 1."""
        warm = self.settings.warmup_steps
        if step <= warm:
            return step / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.state.steps - warm + 1)))

    def loss(self, examples: list[Example]) -> tuple[Tensor, Tensor]:
        """Mean nats per answer token, and for each example whether all its tokens are likeliest.

        Rows are padded on the right, where causal attention never looks: no mask is needed. The
        output head sees only columns in which some row has an answer.
        """
        longest = max(len(example.ids) for example in examples)
        width = -(-longest // _WIDTHS) * _WIDTHS
        ids = torch.zeros(len(examples), width, dtype=torch.long)
        labels = torch.full((len(examples), width), _IGNORED)
        for number, example in enumerate(examples):
            row = torch.tensor(example.ids)
            ids[number, : len(row)] = row
            # What stands at a column is predicted from the column before.
            labels[number, example.start - 1 : len(row) - 1] = row[example.start :]
        columns = (labels != _IGNORED).any(0).nonzero().squeeze(1)
        wanted = labels[:, columns].to(self.weights.device)
        answers = wanted != _IGNORED
        logits = self.model(
            input_ids=ids.to(self.weights.device),
            logits_to_keep=columns.to(self.weights.device),
            use_cache=False,
        ).logits
        loss = torch.nn.functional.cross_entropy(logits[answers].float(), wanted[answers])
        likeliest = logits.detach().argmax(-1) == wanted
        return loss, (likeliest | ~answers).all(1)

    def autocast(self) -> AbstractContextManager[object]:
        """Products in bfloat16 where there are instructions for them; weights stay float32.

        With AVX-512 BF16 a step of 16 rows and a base of 6.5 M weights takes 0.62 of the time.
        """
        return torch.autocast(
            self.weights.device.type, torch.bfloat16, enabled=self.weights.has_bfloat16
        )

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
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def point(self) -> None:
        """Add a point to the curve, say so, and keep a checkpoint when one is due."""
        state = self.state
        loss = sum(self.losses) / len(self.losses)
        self.losses.clear()
        validation = accuracy = None
        if self.validation and self.is_evaluation:
            validation, accuracy = self.evaluate()
            self.keep_if_best(validation, accuracy)
        point = Point(state.step, state.tokens, self.seconds, loss, validation, accuracy)
        state.points.append(point)
        is_shorter = self.fit_to_limit()
        self.say(point)
        due = time.monotonic() - self.saved >= self.job.checkpoint_s
        if (due or is_shorter) and state.step < state.steps:
            self.checkpoint()

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Loss per answer token, and the share of rows that greedy decoding would reproduce."""
        self.model.eval()
        total = count = 0.0
        right = 0
        for at in range(0, len(self.validation), _EVALUATION_BATCH):
            examples = self.validation[at : at + _EVALUATION_BATCH]
            tokens = sum(len(example.ids) - example.start for example in examples)
            with self.autocast():
                loss, is_right = self.loss(examples)
            total += loss.item() * tokens
            count += tokens
            right += int(is_right.sum())
        return total / count, right / len(self.validation)

    def keep_if_best(self, loss: float, accuracy: float) -> None:
        """Keep the weights that reproduce most validation rows; of equals, those of least loss.

        Loss alone is a poor judge here: it rises with confidence while answers still improve.
        Where answers are long no row is ever reproduced, and loss decides.
        """
        rank = (accuracy, -loss, self.state.step)
        if self.state.best is None or rank[:2] > self.state.best[:2]:
            self.state.best = rank
            self.best = {name: p.detach().clone() for name, p in self.trained.items()}

    def fit_to_limit(self) -> bool:
        """Once a twentieth is done, shorten a run that would pass its time limit: True if it was.

        The learning rate then falls to zero at the new end. The new end is in the checkpoint.
        """
        state, limit = self.state, self.job.max_seconds
        if limit is None or state.fitted or state.step < max(10, state.steps // 20):
            return False
        state.fitted = True
        left = max(0.0, _SAFETY * limit - self.seconds)
        affordable = state.step + int(left / (self.seconds / state.step))
        is_shorter = affordable < state.steps
        state.steps = min(state.steps, max(affordable, state.step + 1))
        return is_shorter

    def say(self, point: Point) -> None:
        total = round(self.job.tokens * self.state.steps / self.settings.steps)
        tokens, seconds = self.spoken
        rate = (point.tokens - tokens) / max(1e-6, point.seconds - seconds)
        self.spoken = (point.tokens, point.seconds)
        left = max(0, total - point.tokens) / max(1e-6, point.tokens / point.seconds)
        line = Line(point, self.state.steps, max(total, point.tokens), rate, left)
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    # --- what survives a kill

    def checkpoint(self) -> None:
        """Write everything that the rest of the run depends on."""
        self.state.seconds = self.seconds
        tensors: dict[str, Tensor] = {f"best/{name}": t for name, t in self.best.items()}
        for name, parameter in self.trained.items():
            moments = self.optimizer.state[parameter]
            tensors[f"weight/{name}"] = parameter.detach()
            tensors[f"mean/{name}"] = moments["exp_avg"]
            tensors[f"square/{name}"] = moments["exp_avg_sq"]
        metadata = {"state": msgspec.json.encode(self.state).decode()}
        write_whole(self.folder / CHECKPOINT_FILE, save(tensors, metadata))
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Stand where the last checkpoint stood, if there is one."""
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            return
        with safe_open(str(path), framework="pt", device=str(self.weights.device)) as file:
            self.state = msgspec.json.decode(file.metadata()["state"], type=State)
            names: list[str] = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
        for name, parameter in self.trained.items():
            parameter.data.copy_(tensors[f"weight/{name}"])
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.state.step)),
                "exp_avg": tensors[f"mean/{name}"],
                "exp_avg_sq": tensors[f"square/{name}"],
            }
        self.best = {
            name.removeprefix("best/"): tensor
            for name, tensor in tensors.items()
            if name.startswith("best/")
        }
        self.before = self.state.seconds
        self.spoken = (self.state.tokens, self.before)

    def write(self) -> None:
        """The kept weights in their final form, the curve, and last of all the result."""
        state = self.state
        for name, tensor in self.best.items():
            self.trained[name].data.copy_(tensor)
        name = "adapter" if self.settings.method == "lora" else "model"
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
        )
        write_whole(self.folder / RESULT_FILE, msgspec.json.encode(result))
        (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Exit code 0, or one that `job` names."""
    try:
        Run(Path(arguments[0])).finish()
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        sys.stderr.write(f"{error}\n")
        return DISK_FULL
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
