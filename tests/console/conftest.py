import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from baigong.app import Platform
from baigong.evals.report import Entry, evaluate
from baigong.types import Message, Row
from tests.servers import add_release, open_platform, serving

WORDS = ("refund", "return", "repair", "invoice")

CURVE = [
    {
        "step": step,
        "tokens": step * 900,
        "seconds": step * 0.2,
        "loss": 0.3 + 3 * math.exp(-step / 20),
        "validation_loss": 0.4 + 3 * math.exp(-step / 20) if step % 20 == 0 else None,
    }
    for step in range(1, 101)
]


def report_of(contenders: dict[str, float]) -> dict[str, Any]:
    """A real report of 60 rows, in which each contender is right on its share of them."""
    rows = [
        Row(
            id=str(i),
            messages=(Message("user", f"I want a {WORDS[i % 4]} <b>{i}</b>"),),
            answer=WORDS[i % 4],
            split="test",
            slices={"language": "zh" if i % 3 == 0 else "en"},
        )
        for i in range(60)
    ]
    entries = {
        who: Entry(who, rows, [r.answer if i < 60 * share else "wrong" for i, r in enumerate(rows)])
        for who, share in contenders.items()
    }
    report = evaluate("classification", ("accuracy", "macro_f1"), entries)  # type: ignore[arg-type]
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    home: Path = tmp_path_factory.mktemp("shown")
    platform = open_platform(home)
    report = report_of({"candidate": 0.9, "incumbent": 0.7, "base": 0.2, "baseline": 0.5})
    add_release(platform, home, report=report, lineage={"curve": CURVE, "recipe": "abc"})
    return platform


@pytest.fixture(scope="session")
def url(platform: Platform) -> Iterator[str]:
    with serving(platform) as found:
        yield found
