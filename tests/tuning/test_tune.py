"""Tuning in its own process: it learns, it survives a kill, and what it makes is plain PEFT."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from baigong.errors import Conflict, StorageFull
from baigong.tuning import curve
from baigong.tuning.base import read_base
from baigong.tuning.examples.rows import Example
from baigong.tuning.job import CHECKPOINT_FILE, TuneJob
from baigong.tuning.spec import TuneSpec, resolve
from baigong.tuning.trainer import Run
from baigong.tuning.tune import Diverged, TuneResult, kept_checkpoints, lay_job, tune
from baigong.tuning.weights import load_weights
from baigong.tuning.workers import Workers
from baigong.types import Progress, Row
from tests.inference.local import save_model
from tests.models import make_model
from tests.tuning.killing import durable, live, same_bits

pytestmark = pytest.mark.anyio

SPEC = TuneSpec(rank=8, epochs=4, learning_rate=5e-3, batch_size=4, threads=1, checkpoints=2)


def ignore(_: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def tuned(
    base: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TuneResult, list[Progress]]:
    """A run that nothing interrupted, and what it reported."""
    heard: list[Progress] = []
    work = tmp_path_factory.mktemp("tuned") / "work"
    return await tune(rows, base, SPEC, work, heard.append), heard


async def test_the_loss_falls(tuned: tuple[TuneResult, list[Progress]]) -> None:
    result, _ = tuned
    assert result.steps == 20
    assert result.loss < 0.5 * result.curve[0].loss
    assert result.validation_loss is not None
    assert result.validation_accuracy is not None


async def test_progress_tells_loss_rate_and_time_left(
    tuned: tuple[TuneResult, list[Progress]],
) -> None:
    result, heard = tuned
    assert heard[-1].done == heard[-1].total == result.tokens
    assert heard[-1].unit == "tokens"
    assert all(progress.rate > 0 for progress in heard)
    assert {"loss", "seconds_left"} <= heard[0].metrics.keys()
    assert "validation_loss" in heard[-1].metrics
    assert [progress.metrics["steps"] for progress in heard] == [20] * 20
    assert 0 <= heard[0].metrics["token_accuracy"] < heard[-1].metrics["token_accuracy"] <= 1
    assert 0 <= heard[-1].metrics["validation_token_accuracy"] <= 1


async def test_the_curve_lies_beside_the_adapter(
    tuned: tuple[TuneResult, list[Progress]],
) -> None:
    result, _ = tuned
    points = curve.read(result.folder.parent)
    assert points == result.curve
    assert [point.step for point in points] == list(range(1, 21))
    assert sum(point.validation_loss is not None for point in points) == 4
    assert not (result.folder.parent / CHECKPOINT_FILE).exists()


async def test_the_last_evaluations_keep_their_adapters(
    tuned: tuple[TuneResult, list[Progress]],
) -> None:
    result, _ = tuned
    kept = kept_checkpoints(result.folder.parent)
    assert [point for _, point in kept] == [result.curve[14], result.curve[19]]
    weights = [load_file(folder / "adapter_model.safetensors") for folder, _ in kept]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


async def test_a_finished_folder_answers_at_once(
    tuned: tuple[TuneResult, list[Progress]], base: Path, rows: list[Row]
) -> None:
    result, _ = tuned
    heard: list[Progress] = []
    shuffled = rows[::-1]
    assert await tune(shuffled, base, SPEC, result.folder.parent, heard.append) == result
    assert heard == []


async def test_a_folder_of_another_tuning_is_left_alone(
    tuned: tuple[TuneResult, list[Progress]], base: Path, rows: list[Row]
) -> None:
    result, _ = tuned
    with pytest.raises(Conflict):
        await tune(rows[1:], base, SPEC, result.folder.parent, ignore)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
async def test_the_adapter_loads_in_peft_and_names_no_folder(
    tuned: tuple[TuneResult, list[Progress]], base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result, _ = tuned
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.name
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    after = PeftModel.from_pretrained(model, result.folder).eval()(ids).logits
    assert not torch.allclose(before, after)


@pytest.mark.timeout(300)
async def test_killed_at_ten_random_moments_it_ends_with_the_same_bits(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    spec = durable(msgspec.structs.replace(SPEC, epochs=16))
    whole = await tune(rows, base, spec, tmp_path / "whole", ignore)
    work = tmp_path / "work"
    lay_job(rows, base, spec, work)
    dice = Random(10)
    for _ in range(10):
        await asyncio.to_thread(live, work, dice.randint(0, 4), dice.uniform(0, 0.05))
    heard: list[Progress] = []
    again = await tune(rows, base, spec, work, heard.append)
    assert 1 < heard[0].metrics["step"] < whole.steps
    assert [(p.step, p.loss) for p in again.curve] == [(p.step, p.loss) for p in whole.curve]
    same_bits(whole, again)


async def test_a_run_that_is_cancelled_keeps_what_it_learnt(
    tuned: tuple[TuneResult, list[Progress]], base: Path, rows: list[Row], tmp_path: Path
) -> None:
    result, _ = tuned
    work = tmp_path / "work"  # no checkpoint is due in it by time
    started = asyncio.Event()
    running = asyncio.create_task(tune(rows, base, SPEC, work, lambda _: started.set()))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (work / CHECKPOINT_FILE).exists()
    heard: list[Progress] = []
    again = await tune(rows, base, SPEC, work, heard.append)
    assert heard[0].metrics["step"] > 1
    theirs, ours = (load_file(r.folder / "adapter_model.safetensors") for r in (result, again))
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


async def test_two_processes_learn_what_one_does(
    tuned: tuple[TuneResult, list[Progress]], base: Path, rows: list[Row], tmp_path: Path
) -> None:
    result, _ = tuned
    spec = msgspec.structs.replace(SPEC, processes=2)
    together = await tune(rows, base, spec, tmp_path / "work", ignore)
    alone, both = ([point.loss for point in r.curve] for r in (result, together))
    # Parts of other sizes round otherwise, which shows where little is left to lose.
    assert both == pytest.approx(alone, rel=0.05, abs=0.02)
    assert together.tokens == result.tokens
    assert together.validation_loss == pytest.approx(result.validation_loss, rel=0.05)


async def test_a_loss_that_is_no_number_stops_the_run_and_says_why(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Diverged, match="nan at step 1") as caught:
        await tune(rows, broken, SPEC, tmp_path / "work", ignore)
    assert "tune.learning_rate to 0.0005 (it was 0.005)" in caught.value.hint


@pytest.mark.parametrize("tied", [False, True])
def test_a_frozen_matrix_is_held_as_products_take_it_and_no_bit_changes(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    monkeypatch.setattr("baigong.tuning.weights.multiplies_bfloat16", lambda: True)
    base = make_model(tmp_path / "base", "qwen3", tie_word_embeddings=tied)
    losses = {}
    for held in ("half", "whole"):
        if held == "whole":
            monkeypatch.setattr("baigong.tuning.weights._halve", lambda _: None)
        lay_job(rows, base, SPEC, tmp_path / held)
        run = Run(tmp_path / held, Workers())
        losses[held] = [run.gradients(run.rows[:4]), *gradients_of(run)]
        kinds = {name: p.dtype for name, p in run.weights.causal.named_parameters()}
        matrix = torch.bfloat16 if held == "half" else torch.float32
        assert {kinds[name] for name in kinds if "base_layer" in name} == {matrix}
        assert {kinds[name] for name in kinds if "norm" in name} == {torch.float32}
        assert kinds["model.embed_tokens.weight"] == torch.float32
        assert tied or kinds["lm_head.weight"] == matrix
        assert {p.dtype for p in run.trained.values()} == {torch.float32}
    assert losses["half"] == losses["whole"]


def test_out_of_memory_halves_what_goes_through_at_once(
    base: Path, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a device with room for two rows at once."""
    lay_job(rows, base, SPEC, tmp_path)
    run = Run(tmp_path, Workers())
    batch = run.rows[:4]
    run.state.micro = 4 * max(example.length for example in batch)
    whole = [run.gradients(batch), *gradients_of(run)]
    run.optimizer.zero_grad()
    plenty = run.learner.loss
    sizes: list[int] = []

    def scarce(examples: Sequence[Example]) -> torch.Tensor:
        sizes.append(len(examples))
        if len(examples) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return plenty(examples)

    monkeypatch.setattr(run.learner, "loss", scarce)
    halved = [run.gradients(batch), *gradients_of(run)]
    assert sizes == [4, 2, 2]
    assert run.at_once == run.state.micro > 0
    assert halved == pytest.approx(whole, rel=1e-3, abs=1e-6)
    with pytest.raises(MemoryError, match="One row alone"):
        run.halve(1)


def gradients_of(run: Run) -> list[float]:
    return [float(p.grad.norm()) for p in run.trained.values() if p.grad is not None]


async def test_an_adapter_of_dora_is_merged_into_a_model(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(SPEC, method="dora", epochs=1)
    result = await tune(rows, base, spec, tmp_path / "work", ignore)
    old, new = (load_file(f / "model.safetensors") for f in (base, result.folder))
    assert old.keys() == new.keys()
    assert any(not torch.equal(old[name], new[name]) for name in old)


async def test_a_whole_model_keeps_tokenizer_template_and_dtype(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    spec = TuneSpec(method="full", epochs=1, batch_size=8, threads=1)
    result = await tune(rows, base, spec, tmp_path / "work", ignore)
    before, after = (set(os.listdir(folder)) for folder in (base, result.folder))
    assert before == after
    assert (result.folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    old, new = (load_file(f / "model.safetensors") for f in (base, result.folder))
    assert old.keys() == new.keys()
    assert all(old[name].dtype == new[name].dtype for name in old)
    assert any(not torch.equal(old[name], new[name]) for name in old)


async def test_a_full_disk_is_called_that(base: Path, rows: list[Row], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "rows.msgpack.partial").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match="no room left"):
        await tune(rows, base, SPEC, work, ignore)


def test_of_a_model_that_sees_as_well_only_the_decoder_is_adapted(tmp_path: Path) -> None:
    import transformers

    text = {"vocab_size": 259, "hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    seen = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    seen |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text, vision_config=seen, mm_tokens_per_image=4)
    folder = tmp_path / "m"
    save_model(folder, "AutoModelForImageTextToText", config)
    base = read_base(folder)
    settings = resolve(TuneSpec(rank=8), 10, base.parameters)
    job = TuneJob("", str(folder), settings, base.targets, 0, None, 0.0, 1)
    trained = load_weights(job).trained
    assert trained and not [name for name in trained if "vision" in name]
    assert sum(p.numel() for p in trained.values()) == 8 * sum(base.linear.values())
