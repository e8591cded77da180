"""Recipes whose models end in a head: built, gated and asked through the same doors as those that write."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from baigong.errors import Refused
from baigong.hub.pull import pull
from baigong.industry.build import build
from baigong.industry.data.rows import Dataset
from baigong.industry.head_parity import check_heads
from baigong.industry.recipe import load_recipe
from baigong.tuning.fresh import make_fresh
from baigong.tuning.told import read_told
from baigong.types import Message, Sampling
from tests.industry.trade import RECIPE, Quiet, make_trade, open_platform
from tests.inference.test_encoder import encoder
from tests.tuning.test_images import picture

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

CLASSIFY = RECIPE.replace("local/tiny", "local/bert").replace(
    "tune: {epochs: 12,", "tune: {objective: classify, epochs: 6,"
)
IMAGES = """\
name: sight
base: local/resnet
task: images
data: {rows: pictures, split: {validation: 0.1, test: 0.3}}
tune: {method: full, epochs: 4, learning_rate: 0.003, batch_size: 8}
gate: {minimum: 0.8}
"""
PAIRS = """\
name: find
base: local/bert
task: pairs
data: {rows: pairs.jsonl, split: {validation: 0.1, test: 0.3}}
tune: {method: full, epochs: 8, learning_rate: 0.003, batch_size: 16}
"""


async def say(served, text: str) -> str:
    answer = await served.answer([Message("user", text)], Sampling(max_tokens=4))
    return "".join([delta.text async for delta in answer.deltas])


def bring(platform, folder: Path) -> None:
    pull(platform.hub, str(folder), workdir=folder.parent / "pulls", report=lambda _: None)


async def test_a_classifier_is_gated_and_answers_chats_with_its_label(tmp_path):
    platform = open_platform(tmp_path / "home")
    encoder(tmp_path / "bert", "bert", "AutoModelForMaskedLM")
    bring(platform, tmp_path / "bert")
    recipe = load_recipe(make_trade(tmp_path / "trade", CLASSIFY))
    release = await build(platform.workshop, recipe, Quiet())
    assert release.passed, release.verdict
    assert release.content.adapter is None
    assert release.report["scores"]["base"]["metrics"]["accuracy"]["value"] == 0
    served = platform.serving.open("desk")
    assert await say(served, "aaa 77") == "yes"
    ids = served.tokenizer.encode_text("bbb 77", special=True)
    (shares,) = await served.classify([ids])
    assert (await served.facts()).labels[shares.index(max(shares))] == "no"
    await refuses_what_says_otherwise(platform, release, served)
    await platform.close()


async def refuses_what_says_otherwise(platform, release, served):
    tuned = platform.workshop.folder / release.job / "tune"
    rows = Dataset.read(tuned.parent / "dataset").rows
    assert await check_heads(tuned, served, rows) == 8
    told = read_told(tuned)
    with pytest.raises(Refused, match="other token ids"):
        await check_heads(tuned, served, rows[:1])
    numbers = [number + 0.2 for number in told[0].numbers]
    changed = [msgspec.structs.replace(told[0], numbers=numbers), *told[1:]]
    (tuned / "told.json").write_bytes(msgspec.json.encode(changed))
    with pytest.raises(Refused, match=r"Row 1: the model's numbers are 0\.2"):
        await check_heads(tuned, served, rows)


async def test_pictures_of_class_folders_become_a_release_that_sees(tmp_path):
    platform = open_platform(tmp_path / "home")
    make_fresh(tmp_path / "resnet", "resnet", 16)
    bring(platform, tmp_path / "resnet")
    for number in range(48):
        for label in ("red", "blue"):
            file = tmp_path / "pictures" / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(2 * number + (label == "red"), is_red=label == "red"))
    (tmp_path / "recipe.yaml").write_text(IMAGES)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    release = await build(platform.workshop, recipe, Quiet())
    assert release.passed, release.verdict
    assert release.report["scores"]["baseline"]["name"] == "Logistic regression on pixels"
    served = platform.serving.open("sight")
    (shares,) = await served.look([picture(900, is_red=True)])
    assert (await served.facts()).labels[shares.index(max(shares))] == "red"
    await platform.close()


async def test_pairs_become_a_release_that_makes_vectors(tmp_path):
    platform = open_platform(tmp_path / "home")
    encoder(tmp_path / "bert", "bert")
    bring(platform, tmp_path / "bert")
    pairs = [
        {"query": f"{a}{b}", "positive": f"{a}{b}".upper()}
        for a in "abcdefghijk"
        for b in "lmnopqrstuv"
    ]
    lines = "".join(json.dumps(row) + "\n" for row in pairs)
    (tmp_path / "pairs.jsonl").write_text(lines)
    (tmp_path / "recipe.yaml").write_text(PAIRS)
    release = await build(platform.workshop, load_recipe(tmp_path / "recipe.yaml"), Quiet())
    scores = {
        who: each["metrics"]["mrr"]["value"] for who, each in release.report["scores"].items()
    }
    assert scores["candidate"] > scores["base"]
    served = platform.serving.of_release(release)
    (vector,) = await served.embed([served.tokenizer.encode_text("al", special=True)])
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-3)
    await platform.close()
