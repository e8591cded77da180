"""A student that learns from a teacher's distributions, and a teacher that cannot teach it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from baigong.errors import InvalidInput
from baigong.tuning.learners.distill import Distill
from baigong.tuning.plan import plan_tuning
from baigong.tuning.spec import TuneSpec
from baigong.tuning.trainer import Run
from baigong.tuning.tune import lay_job
from baigong.tuning.workers import Workers
from baigong.types import Row
from tests.models import make_model

SPEC = TuneSpec(
    objective="distill", teacher="?", rank=8, epochs=2, learning_rate=5e-3, batch_size=4, threads=1
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("teacher") / "teacher", "llama", seed=8)


def run_of(base: Path, rows: list[Row], folder: Path, teacher: Path, **changed: object) -> Run:
    spec = msgspec.structs.replace(SPEC, teacher=str(teacher), **changed)
    lay_job(rows, base, spec, folder)
    return Run(folder, Workers())


def test_the_student_comes_nearer_to_the_teacher(
    base: Path, rows: list[Row], teacher: Path, tmp_path: Path
) -> None:
    run = run_of(base, rows, tmp_path, teacher, mix=1.0)
    run.finish()
    before, after = run.state.points[0], run.state.points[-1]
    assert after.figures["divergence"] < 0.8 * before.figures["divergence"]
    assert after.loss == pytest.approx(after.figures["divergence"], rel=0.01)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


@torch.no_grad()
def test_the_loss_is_what_the_formula_says(
    base: Path, rows: list[Row], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baigong.tuning.weights.multiplies_bfloat16", lambda: False)
    run = run_of(base, rows, tmp_path, teacher, mix=0.3, temperature=2.0)
    learner = run.learner
    assert isinstance(learner, Distill)
    wanted = 0.0
    for example in run.rows[:3]:
        ids = torch.tensor([example.ids])
        ours, theirs = (
            model(input_ids=ids).logits[0, example.start - 1 : -1]
            for model in (run.weights.model, learner.teacher)
        )
        p, q = (theirs / 2).softmax(-1), (ours / 2).softmax(-1)
        divergence = 4 * (p * (p / q).log()).sum()
        nats = -ours.log_softmax(-1)[range(len(ours)), example.ids[example.start :]].sum()
        wanted += float(0.3 * divergence + 0.7 * nats)
    assert float(learner.loss(run.rows[:3])) == pytest.approx(wanted, rel=1e-4)


def test_a_model_learns_nothing_from_itself(base: Path, rows: list[Row], tmp_path: Path) -> None:
    run = run_of(base, rows, tmp_path, base, mix=1.0)
    assert run.gradients(run.rows[:4]) == pytest.approx(0, abs=1e-3)


def test_a_teacher_that_cuts_texts_otherwise_is_refused(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    spec = msgspec.structs.replace(SPEC, teacher=str(other))
    with pytest.raises(InvalidInput, match="tokenizer is not the base's") as caught:
        plan_tuning(rows, base, spec)
    assert "teaches: answers" in caught.value.hint


def test_the_teacher_is_planned_for_and_stands_for_itself_in_the_digest(
    base: Path, rows: list[Row], teacher: Path, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(SPEC, teacher=str(teacher))
    alone = plan_tuning(
        rows, base, msgspec.structs.replace(SPEC, objective="supervised", teacher="")
    )
    assert plan_tuning(rows, base, spec).memory_bytes > alone.memory_bytes
    first = lay_job(rows, base, spec, tmp_path / "work")
    moved = tmp_path / "moved"
    shutil.copytree(teacher, moved)
    again = lay_job(
        rows, base, msgspec.structs.replace(SPEC, teacher=str(moved)), tmp_path / "work"
    )
    assert (again.digest, again.teacher) == (first.digest, str(moved))


def test_a_wish_without_a_teacher_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        TuneSpec(objective="distill")
    assert caught.value.param == "tune.teacher"
