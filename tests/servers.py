"""A running server on a tiny real model, for tests that talk to it as any program or browser would."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baigong.app import Platform
from baigong.config import Settings
from baigong.console.pages import routes
from baigong.gateway.run import running
from baigong.industry.releases import Content, Release
from tests.knowledge.bases import keep
from tests.models import make_adapter, make_model

MODEL = "tests/tiny"
CONTEXT = 4096
NO_TOKEN = 1 << 20

RETURNS = """\
# Returns

Goods may be returned within thirty days of delivery. The parcel must be complete.

A refund is paid within five working days. <script>document.title = "broken"</script>
"""

WARRANTY = """\
# 保修

家用电器保修两年，自签收之日起计算。人为损坏不在保修范围内。
"""

PASSED = {
    "passed": True,
    "sentence": {"en": "Better than the base model.", "zh": "比基座模型更好。"},
}


def open_platform(home: Path, **settings: Any) -> Platform:
    """A platform that holds one tiny model, which never ends by itself, and little memory."""
    platform = Platform.open(Settings(home=home, cache_mb=64, threads=1, **settings))
    folder = make_model(home / "tiny", max_position_embeddings=CONTEXT, eos_token_id=NO_TOKEN)
    platform.hub.add("model", MODEL, folder, {})
    return platform


def add_release(
    platform: Platform,
    home: Path,
    name: str = "support",
    *,
    report: dict[str, Any] | None = None,
    verdict: dict[str, Any] | None = None,
    **content: Any,
) -> Release:
    """A live release of `name`: the tiny model, an adapter, and a handbook of two documents."""
    handbook = home / "handbook"
    (handbook / "zh").mkdir(parents=True, exist_ok=True)
    (handbook / "returns.md").write_text(RETURNS, "utf-8")
    (handbook / "zh" / "保修 说明.md").write_text(WARRANTY, "utf-8")
    version = keep(platform.knowledge, "handbook", [handbook])
    adapter_folder = make_adapter(home / f"adapter-{name}", home / "tiny")
    adapter = platform.hub.add("model", f"tests/{name}", adapter_folder, {})
    fields: dict[str, Any] = {
        "task": "chat",
        "base": platform.hub.get("model", MODEL).ref,
        "adapter": adapter.ref,
        "method": "lora",
        "persona": None,
        "knowledge": "handbook",
        "knowledge_version": str(version.number),
        "embedder": None,
        "passages": 2,
        "max_tokens": 12,
        "temperature": 0.0,
        "title": {"en": "Customer service", "zh": "客户服务"},
        "description": {"en": "Answers from the handbook.", "zh": "依据手册回答。"},
        "answer_schema": None,
        "labels": (),
        "lineage": {},
    }
    count = len(platform.releases.history(name))
    made = platform.releases.create(
        name, f"{name}-{count}", Content(**{**fields, **content}), report or {}, verdict or PASSED
    )
    if made.passed:
        platform.releases.promote(made.ref, "tests")
    return made


@contextmanager
def serving(platform: Platform) -> Iterator[str]:
    """The URL of a server that runs in a thread for the length of the block, the console in it."""
    started, stop = threading.Event(), threading.Event()
    found: list[str] = []

    async def run() -> None:
        async with running(platform, pages=routes(platform)) as url:
            found.append(url)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert started.wait(30)
        yield found[0]
    finally:
        stop.set()
        thread.join(30)


def settled(platform: Platform, seconds: float = 5.0) -> int:
    """How many tokens the engines have made in all, once they make no more.

    Raises:
        TimeoutError: they go on for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    last = -1
    while time.monotonic() < deadline:
        now = sum(stats.generated_tokens for stats in platform.engines.stats())
        if now == last:
            return now
        last = now
        time.sleep(0.4)  # many steps of the tiny model
    raise TimeoutError("the engines are still generating")
