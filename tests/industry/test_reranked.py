"""Passages in a reranker's order: what `ask --rerank` quotes, and what a recipe's release cites."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file, save_file

from baigong.app import Platform
from baigong.cli import main
from baigong.errors import NotFound
from baigong.hub.pull import pull
from baigong.industry.build import build
from baigong.industry.recipe import load_recipe
from baigong.industry.releases import Content
from baigong.types import Message, Sampling
from tests.industry.trade import RECIPE, Quiet, make_trade, open_platform
from tests.inference.local import save_model
from tests.knowledge.bases import keep
from tests.models import VOCABULARY

QUESTION = "How many days do kettles take to return?"
TEXTS = {
    f"{colour}.md": f"# {colour}\n\nThe {colour} kettles take {days} days to return."
    for colour, days in (("red", 10), ("green", 20), ("blue", 30))
}


@pytest.fixture(scope="module")
def opposites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A reranker of random weights, and one that thinks the contrary of every pair."""
    from transformers import AutoConfig

    home = tmp_path_factory.mktemp("rankers")
    config = AutoConfig.for_model(
        "bert",
        num_labels=1,
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    for name in ("for", "against"):
        save_model(home / name, "AutoModelForSequenceClassification", config)
    weights = load_file(home / "against" / "model.safetensors")
    weights |= {key: -value for key, value in weights.items() if key.startswith("classifier.")}
    save_file(weights, home / "against" / "model.safetensors", {"format": "pt"})
    return [home / "for", home / "against"]


@pytest.fixture
def platform(opposites: list[Path], tmp_path: Path) -> Platform:
    """In the home that the verbs read."""
    opened = open_platform(tmp_path / "home")
    for folder in opposites:
        pull(opened.hub, str(folder), workdir=tmp_path / "pulls", report=lambda _: None)
    return opened


def orders(first: list[str], second: list[str]) -> None:
    assert len(set(first)) >= len(TEXTS) and second == first[::-1]


def test_ask_quotes_in_the_order_of_the_model_that_is_named(
    platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    keep(platform.knowledge, "kettles", [tmp_path / name for name in TEXTS])
    platform.database.close()

    def quoted(model: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["ask", "kettles", QUESTION, "--json", "--rerank", model])
        return [one["document"] for one in json.loads(capsys.readouterr().out)["citations"]]

    orders(quoted("local/for"), quoted("local/against"))
    with pytest.raises(SystemExit):
        main(["ask", "kettles", QUESTION, "--rerank", "local/fort"])
    assert "local/for" in capsys.readouterr().err


def test_a_recipes_reranker_orders_what_its_release_cites(
    platform: Platform, tmp_path: Path
) -> None:
    text = RECIPE.replace("passages: 2", "passages: 5, rerank: local/for")
    path = make_trade(tmp_path / "trade", text.replace("epochs: 12", "epochs: 1"))
    for name, content in TEXTS.items():
        (path.parent / "handbook" / name).write_text(content)

    async def cited(content: Content) -> list[str]:
        served = platform.serving.of_content("desk", content)
        answer = await served.answer([Message("user", QUESTION)], Sampling(max_tokens=2))
        return [one.document for one in answer.citations]

    async def both() -> tuple[list[str], list[str]]:
        try:
            made = (await build(platform.workshop, load_recipe(path), Quiet())).content
            assert made.rerank == platform.hub.get("model", "local/for").ref
            contrary = msgspec.structs.replace(made, rerank="local/against")
            return await cited(made), await cited(contrary)
        finally:
            await platform.close()

    orders(*asyncio.run(both()))


def test_a_recipe_whose_reranker_is_missing_ends_before_it_is_tuned(
    platform: Platform, tmp_path: Path
) -> None:
    text = RECIPE.replace("passages: 2", "rerank: local/nothing")
    recipe = load_recipe(make_trade(tmp_path / "trade", text))
    watch = Quiet()

    async def attempt() -> None:
        try:
            await build(platform.workshop, recipe, watch)
        finally:
            await platform.close()

    with pytest.raises(NotFound, match="local/nothing"):
        asyncio.run(attempt())
    assert watch.done == []
