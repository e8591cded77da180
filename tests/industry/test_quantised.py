"""Weights of 8 and 4 bits: what they lose is measured, reported and judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from safetensors.numpy import load_file, save_file

from baigong.evals.report import Entry, EvalReport, WeightLoss
from baigong.hub.hub import Revision
from baigong.industry.build import build
from baigong.industry.gate import judge
from baigong.industry.quantised import exact, weigh
from baigong.industry.recipe import Recipe, load_recipe
from baigong.industry.serving import Served
from baigong.inference.client import EngineConfig
from baigong.inference.engines import Engines
from baigong.model.chat import ChatTokenizer
from baigong.types import Message, Row, Sampling
from tests.industry.test_gate import report, right
from tests.industry.trade import Quiet, make_trade, open_platform
from tests.models import make_model

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler"),
]

GREEDY = Sampling(max_tokens=8)


def spoil(folder: Path) -> None:
    """Give every group of weights an outlier, which meets an input that is always zero.

    The model stays the same to the bit; what shares a scale with the outlier is rounded away.
    """
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith(("input_layernorm.weight", "post_attention_layernorm.weight")):
            tensor[0] = 0
        elif name.endswith((
            "q_proj.weight",
            "k_proj.weight",
            "v_proj.weight",
            "gate_proj.weight",
            "up_proj.weight",
        )):
            tensor[:, 0] = 1e4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def open_served(folder: Path, dtype: str) -> Served:
    base = Revision("model", "local/m", "0" * 64, folder, {}, 0.0)
    engines = Engines(EngineConfig(dtype=dtype, threads=1, cache_mb=16))  # type: ignore[arg-type]
    return Served("candidate", base, ChatTokenizer(folder), engines)


async def text_of(served: Served, row: Row) -> str:
    return "".join([delta.text async for delta in served.generate(row.messages, GREEDY)])


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(make_trade(tmp_path / "trade"))


async def measured(recipe: Recipe, folder: Path, dtype: str) -> WeightLoss | None:
    """The loss on rows whose wanted answers are the model's own, so that each is likely."""
    served = open_served(folder, dtype)
    asked = [Row(str(i), (Message("user", f"question {i}"),), "", "test") for i in range(12)]
    async with exact(served) as other:
        texts = [await text_of(other, row) for row in asked]
    rows = [msgspec.structs.replace(r, answer=t) for r, t in zip(asked, texts, strict=True) if t]
    answers = [await text_of(served, row) for row in rows]
    loss = await weigh(
        recipe,
        served,
        Entry("candidate", rows, answers),
        GREEDY,
        folder.parent / "evaluate",
        lambda _: None,
    )
    await served.engines.close()
    return loss


def judged(loss: WeightLoss, recipe: Recipe) -> EvalReport:
    made = report(candidate=right(0.9), base=right(0.2), confidence=recipe.gate.confidence)
    return msgspec.structs.replace(made, weights=loss)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
async def test_weights_that_quantise_badly_are_refused_with_figures_and_a_remedy(
    tmp_path: Path, recipe: Recipe, dtype: str
) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    spoil(folder)
    loss = await measured(recipe, folder, dtype)
    assert loss is not None and loss.ratio > 1.5
    assert loss.dtype == dtype and loss.rows > 5 and loss.tokens > loss.rows
    assert loss.exact_value is not None and loss.value is not None
    assert loss.exact_value > loss.value
    verdict = judge(judged(loss, recipe), recipe.gate)
    assert [check.name for check in verdict.checks if not check.passed] == ["weights"]
    for sentence in (verdict.sentence_en, verdict.sentence_zh):
        assert f"{loss.perplexity:.4g}" in sentence and f"{loss.exact:.4g}" in sentence
        assert "BAIGONG_DTYPE=bfloat16" in sentence and dtype in sentence


async def test_weights_that_quantise_well_pass(tmp_path: Path, recipe: Recipe) -> None:
    loss = await measured(recipe, make_model(tmp_path / "m", "qwen3"), "int8")
    assert loss is not None and loss.ratio == pytest.approx(1, abs=0.05)
    verdict = judge(judged(loss, recipe), recipe.gate)
    assert verdict.passed
    assert "perplexity" in verdict.checks[-1].detail["en"]
    tight = recipe.gate.model_copy(update={"weights": 0.0})
    assert judge(judged(loss, recipe), tight).passed is (loss.ratio <= 1)


async def test_other_weights_cost_nothing(tmp_path: Path, recipe: Recipe) -> None:
    served = open_served(make_model(tmp_path / "m", "qwen3"), "bfloat16")
    async with exact(served) as same:
        assert same is served
    entry = Entry("candidate", [], [])
    work = tmp_path / "evaluate"
    assert await weigh(recipe, served, entry, GREEDY, work, lambda _: None) is None
    assert len(served.engines.stats()) == 1
    await served.engines.close()


async def test_a_build_proves_the_weights_that_will_serve(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was proven in one kind of weights is not done for another."""
    monkeypatch.setenv("BAIGONG_DTYPE", "int8")
    platform = open_platform(tmp_path / "home")
    release = await build(platform.workshop, recipe, Quiet())
    assert {engine.facts.dtype for engine in platform.engines.stats()} == {"int8"}
    assert release.passed, release.verdict
    assert release.report["weights"]["dtype"] == "int8"
    assert release.report["weights"]["exact_value"] == 1
    assert release.content.lineage["weights"] == "int8"
    watch = Quiet()
    assert await build(platform.workshop, recipe, watch) == release
    assert watch.done == []
    await platform.close()

    class Begun(Exception):
        pass

    class AtOnce(Quiet):
        def started(self, step: str) -> None:
            raise Begun

    monkeypatch.setenv("BAIGONG_DTYPE", "float32")
    platform = open_platform(tmp_path / "home")
    with pytest.raises(Begun):
        await build(platform.workshop, recipe, AtOnce())
    await platform.close()
