"""Large files through Hugging Face's client, beside `cp` and a sha256 of the same file.

Client and server share the machine's cores, so beside the times stands what each of them took of
the processor, and what the client takes against a server that keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.hub.catalogue import served
from bench.record import row
from tests.gateway.huggingface.counted import counted

_SIZE, _LARGE = 1_000_000_000, 5_000_000_000
_ROUNDS = 3
_PIECE = 1 << 24


def measure() -> Iterator[dict[str, Any]]:
    """The rows, one after another. Needs twelve gigabytes of disk."""
    root = Path(os.environ.get("BENCH_HOME", Path(__file__).parents[2] / ".bench"))
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield from _one_gigabyte(Path(folder))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield from _memory(Path(folder))


def _one_gigabyte(folder: Path) -> Iterator[dict[str, Any]]:
    file = _written(folder / "file", _SIZE)
    ups, alone, downs, copies, cpu = [], [], [], [], []
    for number in range(_ROUNDS):
        copies.append(_copied(file))
        with _sink() as url:
            alone.append(_run("up", url, file, folder / f"cache-sink-{number}"))
        with served(folder / f"home-{number}") as (port, server):
            url, busy = f"http://127.0.0.1:{port}", [_cpu(server)]
            ups.append(_run("up", url, file, folder / f"cache-{number}"))
            busy.append(_cpu(server))
            downs.append(_run("down", url, folder / f"down-{number}", folder / f"cache-{number}"))
            busy.append(_cpu(server))
            cpu.append((busy[1] - busy[0], busy[2] - busy[1]))
            if number == _ROUNDS - 1:
                yield _changed(url, file, folder)
        (folder / f"down-{number}" / "weights.onnx").unlink()
    speed, bare = (_speed([one["seconds"] for one in ups])), _speed(copies)
    yield row("upload of 1 GB", speed, "MB/s", peer="cp and sha256", theirs=bare, goal=0.8)
    own = _speed([one["seconds"] for one in alone])
    yield row("upload of 1 GB", speed, "MB/s", peer="the client, kept nowhere", theirs=own)
    speed = _speed([one["seconds"] for one in downs])
    yield row("download of 1 GB", speed, "MB/s", peer="cp and sha256", theirs=bare, goal=0.8)
    for work, place, runs in (("upload", 0, ups), ("download", 1, downs)):
        ours, theirs = statistics.median(one[place] for one in cpu), _median(runs, "cpu")
        peer = "the client in the same run"
        yield row(f"processor time, {work} of 1 GB", ours, "s", peer=peer, theirs=theirs)


def _changed(url: str, file: Path, folder: Path) -> dict[str, Any]:
    """What is sent of the same file with a hundredth of it, in one place, changed."""
    with file.open("r+b") as content:
        content.seek(_SIZE // 3)
        content.write(random.Random(2).randbytes(_SIZE // 100))
    with counted(url) as way:
        # The client remembers what it has sent by the address, so it learns the new one first.
        cache = folder / "cache-counted"
        _run("up", way.url, file, cache)
        with file.open("r+b") as content:
            content.seek(_SIZE // 2)
            content.write(random.Random(3).randbytes(_SIZE // 100))
        way.sent = 0
        _run("up", way.url, file, cache)
        share = way.sent / _SIZE
    work = "share of 1 GB that is sent again, 1 % changed"
    return row(work, share, goal=0.05, is_less_better=True)


def _memory(folder: Path) -> Iterator[dict[str, Any]]:
    file = _written(folder / "file", _LARGE)
    with served(folder / "home") as (port, server), _peak(server) as peak:
        took = _run("up", f"http://127.0.0.1:{port}", file, folder / "cache")
    work = "most memory of the server, upload of 5 GB"
    note = f"{_LARGE / took['seconds'] / 1e6:.0f} MB/s"
    yield row(work, peak[0] / 1e6, "MB", goal=300, is_less_better=True, note=note)


def _written(path: Path, size: int) -> Path:
    numbers = random.Random(1)
    with path.open("wb") as file:
        for at in range(0, size, _PIECE):
            file.write(numbers.randbytes(min(_PIECE, size - at)))
    return path


def _copied(file: Path) -> float:
    """Seconds of `cp` and a sha256 of the copy."""
    copy = file.with_name("copy")
    start = time.perf_counter()
    subprocess.run(["cp", file, copy], check=True)
    with copy.open("rb") as content:
        hashlib.file_digest(content, "sha256")
    took = time.perf_counter() - start
    copy.unlink()
    return took


def _run(way: str, url: str, file: Path, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.hub.sending", way, url, str(file)]
    environment = {**os.environ, "HF_HOME": str(cache)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    took: dict[str, float] = json.loads(done.stdout)
    return took


@contextmanager
def _sink() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.hub.sink"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()


@contextmanager
def _peak(server: psutil.Process) -> Iterator[list[int]]:
    """Bytes, looked at fifty times a second."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], server.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _cpu(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def _median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in runs)


def _speed(seconds: list[float]) -> float:
    """MB/s of the median run."""
    return _SIZE / statistics.median(seconds) / 1e6
