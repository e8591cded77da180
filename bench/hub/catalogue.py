"""Lists and searches of a catalogue by 32 clients at once, and downloads counted by 64 writers.

The server is `baigong serve`, the clients are another process on the same cores, so that what they
take is missing from the server: beside the times stands what a request costs the server's processor.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from baigong.app import Platform
from baigong.config import Settings
from baigong.hub.commits import Words
from bench.hub.made import fill
from bench.record import row

GOALS_MS = {2_300: 20.0, 100_000: 50.0}  # at p95
DOORS = ("/api/hub/models", "/hf/api/models")
CLIENTS = 32
REQUESTS = 6_000
WRITERS, PROCESSES, EACH = 64, 4, 2_000


def measure(sizes: Sequence[int] = tuple(GOALS_MS)) -> Iterator[dict[str, Any]]:
    """The rows, one after another."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            platform = Platform.open(Settings(home=home))
            fill(platform.database, size)
            platform.database.close()
            with served(home) as (port, server):
                yield from _started(port, server, size)
                for door in DOORS:
                    yield from _asked(port, server, door, size)
                memory = server.memory_info().rss / 1e6
                yield row(f"memory of a server, {size:,} models", memory, "MB")
    yield from _counted()


def _started(port: int, server: psutil.Process, size: int) -> Iterator[dict[str, Any]]:
    """The first list, for which all rows are read."""
    before = server.memory_info().rss
    start = time.perf_counter()
    ask(port, "/api/hub/models")
    took, grown = time.perf_counter() - start, (server.memory_info().rss - before) / 1e6
    note = f"{grown:.0f} MB more than before"
    yield row(f"the first list after a start, {size:,} models", took, "s", note=note)


def _asked(port: int, server: psutil.Process, door: str, size: int) -> Iterator[dict[str, Any]]:
    _run_clients(port, door, 500, seed=2)  # warm
    before = _cpu(server)
    found = _run_clients(port, door, REQUESTS, seed=1)
    each = 1000 * (_cpu(server) - before) / REQUESTS
    if found["wrong"]:
        raise RuntimeError(f"{door} answered {found['wrong']}")
    middle = statistics.median(found["ms"])
    tail = statistics.quantiles(found["ms"], n=100)[94]
    theirs = 1000 * found["cpu_s"] / REQUESTS
    work = f"{door}, {size:,} models, {CLIENTS} clients"
    note = f"the clients' own processor time is {theirs:.2f} ms a request"
    yield row(f"{work}, p50", middle, "ms")
    yield row(f"{work}, p95", tail, "ms", goal=GOALS_MS.get(size))
    yield row(f"{work}, server's processor a request", each, "ms", note=note)


def _counted() -> Iterator[dict[str, Any]]:
    """Downloads of one repository from threads of several processes, and how many are missing."""
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform.open(Settings(home=Path(folder)))
        one = platform.hub.repositories.create("model", "alice/one", [], Words("Begin", "alice"))
        command = [sys.executable, "-m", "bench.hub.catalogue", folder, str(one.id)]
        start = time.perf_counter()
        writers = [subprocess.Popen(command) for _ in range(PROCESSES)]
        if any(writer.wait() for writer in writers):
            raise RuntimeError("a writer failed")
        took = time.perf_counter() - start
        found = platform.hub.repositories.find("model", "alice/one").downloads
        platform.database.close()
    note = f"{WRITERS * EACH:,} in {took:.1f} s with the starts of {PROCESSES} processes"
    missing = float(WRITERS * EACH - found)
    work = f"downloads lost, {WRITERS} writers"
    yield row(work, missing, "", goal=0.0, is_less_better=True, note=note)


def write(home: Path, id: int) -> None:
    """One process of the writers."""
    counting = Platform.open(Settings(home=home)).hub.counting

    def count() -> None:
        for _ in range(EACH):
            counting.count(id)

    threads = [threading.Thread(target=count) for _ in range(WRITERS // PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counting.close()


@contextmanager
def served(home: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`baigong serve` on an installation: its port and its process."""
    command = [sys.executable, "-m", "baigong", "serve", "--port", "0"]
    environment = {**os.environ, "BAIGONG_HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = next(line for line in server.stdout if "listens at" in line)
            yield (
                int(said.split("listens at")[1].split()[0].rpartition(":")[2]),
                psutil.Process(server.pid),
            )
        finally:
            server.terminate()


def ask(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as reply:
        return bytes(reply.read())


def _run_clients(port: int, door: str, requests: int, *, seed: int) -> Any:
    command = [sys.executable, "-m", "bench.hub.clients", "--port", str(port), "--door", door]
    command += ["--requests", str(requests), "--clients", str(CLIENTS), "--seed", str(seed)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _cpu(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
