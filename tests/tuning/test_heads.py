"""Models that end in a head: what is tuned is what the engine says, and a kill changes no bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from baigong.inference.engine.messages import Classify
from baigong.model.chat import ChatTokenizer
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import TuneResult, tune
from baigong.types import Progress, Row, Split
from tests.inference.local import LocalEngine
from tests.inference.test_encoder import encoder
from tests.inference.test_encoder import rows as answers
from tests.tuning.conftest import make_row
from tests.tuning.killing import durable, killed_at, same_bits

pytestmark = pytest.mark.anyio

SPEC = TuneSpec(objective="classify", rank=8, epochs=8, learning_rate=5e-3, batch_size=8, threads=1)
WORDS = {"aaa": "yes", "bbb": "no", "ccc": "maybe"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def ignore(_: Progress) -> None:
    pass


def labelled() -> list[Row]:
    splits: list[Split] = ["train"] * 10 + ["validation"] * 2
    return [
        make_row(f"{word} {number}", label, split)
        for number, split in enumerate(splits)
        for word, label in WORDS.items()
    ]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert") / "bert"
    encoder(folder, "bert", "AutoModelForMaskedLM")
    return folder


@pytest.fixture(scope="module")
async def classifier(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    return await tune(labelled(), bert, SPEC, tmp_path_factory.mktemp("c") / "work", ignore)


def asked(folder: Path, texts: list[str], **config: Any) -> tuple[tuple[str, ...], torch.Tensor]:
    engine = LocalEngine(folder, **config)
    tokenizer = ChatTokenizer(folder)
    ids = [tokenizer.encode_text(text, special=True) for text in texts]
    return tuple(engine.facts.labels), answers(engine, Classify(1, ids))


async def test_a_tuned_encoder_is_a_classifier_that_the_engine_serves(
    classifier: TuneResult,
) -> None:
    assert classifier.validation_accuracy == 1
    config = json.loads((classifier.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    labels, shares = asked(classifier.folder, [f"{word} 77" for word in WORDS])
    assert sorted(labels) == sorted(WORDS.values())
    assert [labels[n] for n in shares.argmax(-1)] == list(WORDS.values())
    assert not (classifier.folder / "adapter_config.json").exists()


async def test_a_killed_run_ends_with_the_same_bits(
    classifier: TuneResult, bert: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"

    await killed_at(9, labelled(), bert, SPEC, work)
    same_bits(classifier, await tune(labelled(), bert, durable(SPEC), work, ignore))


def as_fields(spec: TuneSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


async def test_a_decoder_classifies_alike_alone_and_in_a_batch(base: Path, tmp_path: Path) -> None:
    spec = TuneSpec(**{**as_fields(SPEC), "method": "full", "learning_rate": 2e-3})
    result = await tune(labelled(), base, spec, tmp_path / "work", ignore)
    assert result.validation_accuracy == 1
    config = json.loads((result.folder / "config.json").read_text())
    assert config["is_causal"] is False  # it is small, and reads a text as a whole
    texts = [f"{word} {'7' * number}" for number, word in enumerate(WORDS)]
    labels, shares = asked(result.folder, texts)
    assert [labels[n] for n in shares.argmax(-1)] == list(WORDS.values())
    alone = torch.cat([asked(result.folder, [text])[1] for text in texts])
    torch.testing.assert_close(alone, shares, rtol=1e-4, atol=1e-4)


async def test_numbers_come_back_in_their_own_units(bert: Path, tmp_path: Path) -> None:
    splits: list[Split] = ["train"] * 24 + ["validation"] * 4
    rows = [
        make_row(f"{word} {number}", str(value), split)
        for number, split in enumerate(splits)
        for word, value in (("aaa", 1200), ("bbb", 1500.5))
    ]
    spec = TuneSpec(**{**as_fields(SPEC), "objective": "regress"})
    result = await tune(rows, bert, spec, tmp_path / "work", ignore)
    _, values = asked(result.folder, ["aaa 90", "bbb 91"])
    assert values.flatten().tolist() == pytest.approx([1200, 1500.5], abs=15)
