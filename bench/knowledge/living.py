"""News pushed to a server while it is asked: from the post to the answer."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx2

from baigong.knowledge.demo_feed import Story, stories
from bench.record import row

RATE = 50  # messages a second
SECONDS = 40
BEFORE = 20_000  # documents that are there when it begins
ASKED = 10  # one story in so many is searched for as soon as it is answered
START_S = 120
JSON = {"Content-Type": "application/json"}


def measure() -> Iterator[dict[str, Any]]:
    """Every message is a request of its own."""
    with _server() as url:
        times, found = asyncio.run(_run(url))
    cuts = statistics.quantiles(times, n=100)
    where = f"push to answerable, {RATE} a second beside {BEFORE:,} documents"
    yield row(f"{where}, p50", cuts[49], "s", goal=0.5)
    yield row(f"{where}, p99", cuts[98], "s", goal=2)
    yield row(f"{where}, found at once", found, goal=1.0)


async def _run(url: str) -> tuple[list[float], float]:
    """Seconds of each message, and the share of those asked for that were found."""
    limits = httpx2.Limits(max_connections=200)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        (await client.post("/api/knowledge", json={"name": "news"})).raise_for_status()
        told = stories(3, RATE, time.time() - (BEFORE + RATE * SECONDS) / RATE)
        lines = b"\n".join(one.line.strip() for one in islice(told, BEFORE))
        headers = {"Content-Type": "application/x-ndjson"}
        path = "/api/knowledge/news/documents"
        (await client.post(path, content=lines, headers=headers, timeout=600)).raise_for_status()
        times: list[float] = []
        hits: list[bool] = []

        async def push(number: int, story: Story) -> None:
            began = time.perf_counter()
            (await client.post(path, content=story.line, headers=JSON)).raise_for_status()
            times.append(time.perf_counter() - began)
            if number % ASKED == 0:
                asked = {"question": story.question, "limit": 5}
                answer = await client.post("/api/knowledge/news/search", json=asked)
                hits.append(story.path in answer.text)

        async with asyncio.TaskGroup() as tasks:
            began = time.perf_counter()
            for number, story in enumerate(islice(told, RATE * SECONDS)):
                await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
                tasks.create_task(push(number, story))
        return times, statistics.mean(hits)


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "baigong", "serve", "--port", str(port)]
        process = subprocess.Popen(
            command, env={**os.environ, "BAIGONG_HOME": home}, stdout=subprocess.DEVNULL
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait(url: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            httpx2.get(f"{url}/health").raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"no server at {url}")
