"""Vectors and scores for search: tuned on pairs, read by the engine as sentence-transformers has it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import torch

from baigong.inference.engine.messages import Classify, Embed
from baigong.model.chat import ChatTokenizer
from baigong.tuning.spec import TuneSpec
from baigong.tuning.told import read_told
from baigong.tuning.tune import TuneResult, tune
from baigong.types import Row, Split
from tests.inference.local import LocalEngine
from tests.inference.test_encoder import encoder
from tests.inference.test_encoder import rows as answers
from tests.models import make_model
from tests.tuning.conftest import make_row
from tests.tuning.killing import durable, killed_at, same_bits
from tests.tuning.test_heads import as_fields, ignore

pytestmark = pytest.mark.anyio

SPEC = TuneSpec(
    objective="embed", method="full", epochs=20, learning_rate=3e-3, batch_size=8, threads=1
)
LETTERS = "abcdefghijklmnop"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert") / "bert"
    encoder(folder, "bert", type_vocab_size=2)
    return folder


def pairs() -> list[Row]:
    """A letter is answered by its capital; every other row has another capital as its negative."""
    splits: list[Split] = ["train"] * 4 + ["validation"]
    rows = [
        make_row(f"{letter} {n}", letter.upper() * 3, split)
        for n, split in enumerate(splits)
        for letter in LETTERS
    ]
    wrong = LETTERS[1:].upper() + "A"
    return [
        msgspec.structs.replace(row, rejected=wrong[n % len(LETTERS)] * 3) if n % 2 else row
        for n, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
async def embedder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    return await tune(pairs(), bert, SPEC, tmp_path_factory.mktemp("e") / "work", ignore)


async def test_a_tuned_embedder_finds_through_the_engine(embedder: TuneResult) -> None:
    assert embedder.validation_accuracy is not None
    assert embedder.validation_accuracy > 0.6
    assert embedder.curve[0].figures["candidates"] > 8
    names = [
        module["path"] for module in json.loads((embedder.folder / "modules.json").read_text())
    ]
    assert names == ["", "1_Pooling", "2_Normalize"]
    words = ChatTokenizer(embedder.folder)
    texts = [*(f"{letter} 9" for letter in LETTERS), *(letter.upper() * 3 for letter in LETTERS)]
    engine = LocalEngine(embedder.folder)
    vectors = answers(engine, Embed(1, [words.encode_text(t, special=True) for t in texts]))
    found = (vectors[: len(LETTERS)] @ vectors[len(LETTERS) :].T).argmax(1)
    assert (found == torch.arange(len(LETTERS))).float().mean() > 0.6


async def test_a_killed_run_ends_with_the_same_bits(
    embedder: TuneResult, bert: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"

    await killed_at(9, pairs(), bert, SPEC, work)
    same_bits(embedder, await tune(pairs(), bert, durable(SPEC), work, ignore))


async def test_a_tuned_reranker_scores_the_answer_highest(bert: Path, tmp_path: Path) -> None:
    spec = TuneSpec(**{**as_fields(SPEC), "objective": "rerank", "learning_rate": 1e-3})
    result = await tune(pairs(), bert, spec, tmp_path / "work", ignore)
    assert result.validation_accuracy is not None
    assert result.validation_accuracy > 0.6
    words, engine = ChatTokenizer(result.folder), LocalEngine(result.folder)
    assert len(engine.facts.labels) == 1
    right = 0
    for number, letter in enumerate(LETTERS):
        texts = [letter.upper() * 3, LETTERS[(number + 5) % 16].upper() * 3]
        read = [words.encode_pair(f"{letter} 9", text) for text in texts]
        scores = answers(engine, Classify(number, [r[0] for r in read], [r[1] for r in read]))
        right += int(scores[0, 0] > scores[1, 0])
    assert right >= 12


async def test_a_decoder_without_its_head_makes_vectors(tmp_path: Path) -> None:
    base = make_model(tmp_path / "llama", "llama", seed=3)  # its head is not its embeddings
    spec = TuneSpec(**{**as_fields(SPEC), "method": "lora", "rank": 4, "epochs": 1})
    result = await tune(pairs(), base, spec, tmp_path / "work", ignore)
    told = read_told(result.folder.parent)
    asked = [one.asked for one in told if isinstance(one.asked, list)]
    vectors = answers(LocalEngine(result.folder), Embed(1, asked))
    wanted = torch.tensor([one.numbers for one in told])
    torch.testing.assert_close(vectors, wanted, rtol=1e-4, atol=1e-4)
