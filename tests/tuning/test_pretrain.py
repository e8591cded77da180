"""The whole run on a toy recipe: kill and resume, export, card."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baigong.errors import Conflict
from tests.tuning.pretrain_toy import toy_recipe, write_data, write_recipe


def _start(recipe: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "baigong.tuning.pretrain", str(recipe)]
    return subprocess.Popen(
        [*command, "--data", str(data), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _finish(run: subprocess.Popen[bytes]) -> None:
    _, errors = run.communicate(timeout=100)
    assert run.returncode == 0, errors.decode()


def _wait_for_step(out: Path, step: int) -> None:
    pointer = out / "checkpoint.json"
    for _ in range(4000):
        if pointer.is_file() and json.loads(pointer.read_text())["step"] >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"never reached step {step}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption: its folder holds recipe.yaml, data and out."""
    folder = tmp_path_factory.mktemp("toy")
    recipe = write_recipe(folder / "recipe.yaml", toy_recipe())
    _finish(_start(recipe, write_data(folder / "data"), folder / "out"))
    return folder


def test_run_killed_with_sigkill_resumes_to_the_same_weights(finished: Path) -> None:
    out = finished / "killed"
    run = _start(finished / "recipe.yaml", finished / "data", out)
    _wait_for_step(out, 3)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=30)
    step = json.loads((out / "checkpoint.json").read_text())["step"]
    assert 3 <= step < 8
    _finish(_start(finished / "recipe.yaml", finished / "data", out))
    for name in ("model.safetensors", "optimisers.safetensors"):
        resumed, whole = (
            (folder / "step-00000008" / name).read_bytes() for folder in (out, finished / "out")
        )
        assert resumed == whole, name
    curves = [
        [(row["step"], row["tokens"], row.get("bits_per_byte")) for row in training["curve"]]
        for training in (
            json.loads((folder / "model" / "training.json").read_text())
            for folder in (out, finished / "out")
        )
    ]
    assert curves[0] == curves[1]


def test_loss_falls_and_the_curve_tells_held_back_bits(finished: Path) -> None:
    training = json.loads((finished / "out" / "model" / "training.json").read_text())
    first, last = training["curve"][0], training["curve"][-1]
    assert last["step"] == 8 and last["tokens"] == 8 * 1024
    assert last["loss"] < first["loss"] or len(training["curve"]) == 1
    assert set(last["bits_per_byte"]) == {"en", "zh"}
    assert sum(training["shares"].values()) == pytest.approx(1.0, abs=0.001)


def test_exported_folder_loads_in_stock_transformers(finished: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished / "out" / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "qwen3"
    assert (
        model.config.vocab_size
        == Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    )
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "春眠 hello"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    assert model.generate(ids, max_new_tokens=3, min_new_tokens=3).shape[1] == ids.shape[1] + 3


def test_card_names_every_source_and_the_share_alike_consequence(finished: Path) -> None:
    card = (finished / "out" / "model" / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-sa-4.0\n")
    for words in ("| en | en | CC0-1.0 |", "| pairs | en+zh |", "share-alike", "bits per byte"):
        assert words in card
    assert "8.19 M" not in card and "0.01 M tokens in 8 steps" in card


def test_changed_mix_goes_on_and_is_told_in_the_card(finished: Path) -> None:
    from baigong.tuning.pretrain import pretrain_command

    changed = toy_recipe()
    changed["mix"]["drill"] = 0.25
    changed["budget"]["exam_tasks"] = 1
    recipe = write_recipe(finished / "changed.yaml", changed)
    shutil.copytree(finished / "out", finished / "changed")
    assert pretrain_command(recipe, finished / "data", finished / "changed")
    card = (finished / "changed" / "model" / "README.md").read_text()
    assert "- at step 8: mix.drill from 0.5 to 0.25" in card
    for row in ("| quote | zh | 1 |", "| extract | en | 1 |", "| label | zh | 1 |"):
        assert row in card


def test_folder_of_another_recipe_is_refused(finished: Path) -> None:
    from baigong.tuning.pretrain import pretrain_command

    other = write_recipe(finished / "other.yaml", toy_recipe(seed=4))
    with pytest.raises(Conflict, match="another recipe"):
        pretrain_command(other, finished / "data", finished / "out")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_person_sees_speed_time_left_and_loss(is_terminal: bool) -> None:
    from rich.console import Console

    from baigong.tuning.pretrain.display import display
    from baigong.tuning.pretrain.loop import Report

    screen = io.StringIO()
    report = Report(10, 2_000_000, 600.0, 0.5, 3.25, 3333.3, {"en": 1.5, "zh": 1.75})
    with display("toy", Console(file=screen, force_terminal=is_terminal, width=200)) as show:
        show(report)
    for words in ("2.00 M tokens", "3333 tokens/s", "10 min left", "loss 3.250", "en 1.500"):
        assert words in screen.getvalue()
