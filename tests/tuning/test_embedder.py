"""An embedder learnt from pairs of a toy language: what it finds, and that a kill changes nothing."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from baigong.errors import Conflict, DataProblems, NotFound
from baigong.inference.static import StaticEmbed
from baigong.tuning.embedder import Plan, train_embedder
from baigong.tuning.embedder.loss import contrast
from baigong.types import Progress

PLAN = Plan(vocabulary=700, size=24, batch=64, group=16, epochs=12, checkpoint_s=0.0)
_HAN = "山水火木金土日月星云风雨雪花草鸟鱼虫马牛羊犬"
_LATIN = ("mount", "water", "flame", "timber", "golden", "earth", "sunny", "lunar", "stellar")
_LATIN += ("cloudy", "windy", "rainy", "snowy", "flower", "grassy", "birdy", "fishy", "insect")
_LATIN += ("horse", "cattle", "sheep", "doggy")


def _sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """The same five things in two languages, in orders of their own."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        things = rng.sample(range(len(_HAN)), 5)
        words = " ".join(_LATIN[thing] for thing in rng.sample(things, 5))
        rows.append(("，".join(_HAN[thing] for thing in things), words))
    return rows


def _write(path: Path, rows: list[tuple[str, str]]) -> Path:
    lines = (json.dumps({"a": a, "b": b, "source": "toy"}, ensure_ascii=False) for a, b in rows)
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    train_embedder(_write(folder / "pairs.jsonl", _sentences(600, 1)), folder / "out", _mute, PLAN)
    return folder


def _mute(progress: Progress) -> None:
    del progress


def test_unseen_translations_are_found(trained: Path) -> None:
    embed = StaticEmbed(trained / "out" / "model")
    rows = _sentences(100, 2)
    near = embed.vectors([a for a, _ in rows]) @ embed.vectors([b for _, b in rows]).T
    found = (near.argmax(1) == np.arange(100)).mean()
    assert found > 0.8  # by chance 0.01


def test_loss_falls_and_is_told(tmp_path: Path) -> None:
    said: list[Progress] = []
    pairs = _write(tmp_path / "pairs.jsonl", _sentences(300, 3))
    train_embedder(pairs, tmp_path / "out", said.append, PLAN)
    losses = [one.metrics["loss"] for one in said]
    assert losses[-1] < 0.7 * losses[0]
    assert said[-1].done == said[-1].total


_KILLED = """
import os, signal, sys
from pathlib import Path
from baigong.tuning.embedder import Plan, train_embedder
left = [3]
def report(progress):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
plan = Plan(vocabulary=700, size=24, batch=64, group=16, epochs=12, checkpoint_s=0.0)
train_embedder(Path(sys.argv[1]), Path(sys.argv[2]), report, plan)
"""


def test_run_killed_with_sigkill_goes_on_to_the_same_model(trained: Path) -> None:
    out, pairs = trained / "killed", trained / "pairs.jsonl"
    out.mkdir()  # two tokenizers differ in a few pieces, so both runs have one
    shutil.copy(trained / "out" / "tokenizer.json", out)
    run = subprocess.run(
        [sys.executable, "-c", _KILLED, str(pairs), str(out)], check=False, timeout=100
    )
    assert run.returncode == -signal.SIGKILL
    assert (out / "state.safetensors").is_file() and not (out / "model").exists()
    train_embedder(pairs, out, _mute, PLAN)
    for name in ("model.safetensors", "tokenizer.json"):
        whole = (trained / "out" / "model" / name).read_bytes()
        assert (out / "model" / name).read_bytes() == whole, name
    curves = [
        json.loads((trained / run / "model" / "training.json").read_text())["curve"]
        for run in ("out", "killed")
    ]
    assert curves[0] == curves[1]


def test_folder_of_other_pairs_is_refused(trained: Path, tmp_path: Path) -> None:
    other = _write(tmp_path / "pairs.jsonl", _sentences(100, 4))
    with pytest.raises(Conflict, match="other pairs"):
        train_embedder(other, trained / "out", _mute, PLAN)


def test_every_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": "x", "b": "y"}\n{"a": "x"}\nnonsense\n{"a": " ", "b": "y"}\n')
    with pytest.raises(DataProblems) as caught:
        train_embedder(path, tmp_path / "out", _mute, PLAN)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]
    with pytest.raises(NotFound):
        train_embedder(tmp_path / "none.jsonl", tmp_path / "out", _mute, PLAN)


def test_card_tells_sources_and_licence(tmp_path: Path) -> None:
    pairs = _write(tmp_path / "pairs.jsonl", _sentences(100, 5))
    told = {"": {"name": "toy-model", "licence": "cc0-1.0"}, "toy": {"credit": "nobody"}}
    (tmp_path / "pairs.sources.json").write_text(json.dumps(told))
    model = train_embedder(pairs, tmp_path / "out", _mute, PLAN)
    card = (model / "README.md").read_text()
    assert card.startswith("---\nlicense: cc0-1.0\n")
    assert "# toy-model" in card and "| toy | 100 | 1 |" in card and "nobody" in card


def test_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((6, 5)).astype(np.float32) for _ in range(2))
    same = np.zeros((6, 6), bool)
    same[0, 3] = same[3, 0] = True
    _, by_a, by_b = contrast(a, b, same, 0.5)
    for number, gradient in enumerate((by_a, by_b)):
        for at in ((0, 1), (3, 4), (5, 0)):
            sides = [[a.copy(), b.copy()] for _ in range(2)]
            sides[0][number][at] += 1e-2
            sides[1][number][at] -= 1e-2
            high, low = (contrast(*pair, same, 0.5)[0] for pair in sides)
            assert gradient[at] == pytest.approx((high - low) / 2e-2, abs=2e-3)


def test_texts_that_say_the_same_are_no_wrong_answers() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2))
    b[1] = b[0]
    none = np.zeros((4, 4), bool)
    same = none.copy()
    same[0, 1] = same[1, 0] = True
    assert contrast(a, b, same, 0.1)[0] < contrast(a, b, none, 0.1)[0]
