"""A tiny base and rows to tune it on."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from baigong.types import Message, Row, Split
from tests.models import make_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tuning") / "base", "qwen3", seed=3)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Twenty rows to train on and four of each other split: a colour for a number."""
    splits: list[Split] = ["train"] * 20 + ["validation"] * 4 + ["test"] * 4
    return [
        make_row(f"Number {n}?", ("red", "blue")[n % 2], split) for n, split in enumerate(splits)
    ]


def make_row(question: str, answer: str, split: Split = "train") -> Row:
    identity = sha256(f"{question}{answer}".encode()).hexdigest()[:16]
    return Row(identity, (Message("user", question),), answer, split)
