import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from baigong.app import Platform
from baigong.evals.report import Entry, evaluate
from baigong.types import Message, Row
from tests.console.repositories import fill
from tests.servers import add_release, open_platform, serving

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()

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
    fill(platform.hub)
    return platform


@pytest.fixture(scope="session")
def url(platform: Platform) -> Iterator[str]:
    with serving(platform) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, url):
    """Opens a path in a fresh profile; anything the page complains of fails the test."""
    complaints, contexts = [], []

    def complain(text):
        if "Failed to load resource" not in text:  # the browser's own word for a status of 400
            complaints.append(text)

    def open_(path="/", locale="en-US", **options):
        context = browser.new_context(locale=locale, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complain(said.text) if said.type == "error" else None)
        page.goto(url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
