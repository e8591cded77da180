"""What `baigong fit` says beside what an engine is measured to take.

    python -m bench.fit [--shape NAME]

Each engine serves 8 sequences of 512 tokens with 8 adapters of rank 8. Measured is the most memory of
its own (anonymous and shared, not the files that the system caches) at any time, every 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

from baigong.inference.client import Engine, EngineConfig
from baigong.inference.fit import fit
from baigong.types import Sampling
from bench.engine.shapes import SHAPES, TARGETS, once
from bench.record import record
from tests.models import make_adapter, make_model

ROOT = Path(__file__).resolve().parents[1]
STREAMS, TOKENS, ADAPTERS, RANK = 8, 512, 8, 8
GOAL = 0.1
DTYPES = ("float32", "bfloat16", "int8", "int4")


@dataclass(frozen=True)
class Plain:
    """A shape that goes through torch, in the two kinds of weights that it can have."""

    name: str
    kind: str
    targets: tuple[str, ...]
    config: dict[str, int]

    def model(self, home: Path) -> Path:
        return once(
            home / "models" / self.name, lambda to: make_model(to, self.kind, **self.config)
        )

    def adapters(self, home: Path, count: int) -> dict[str, str]:
        model, folders = self.model(home), {}
        for number in range(count):
            to = home / "adapters" / self.name / f"adapter{number}"
            once(
                to,
                lambda to, seed=number: make_adapter(
                    to, model, rank=RANK, seed=seed, targets=self.targets
                ),
            )
            folders[to.name] = str(to)
        return folders


_SIZES = {"num_hidden_layers": 6, "max_position_embeddings": 2048}
PLAIN = (
    Plain(
        "experts",
        "qwen3_moe",
        TARGETS[:4],
        _SIZES
        | {"hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64}
        | {"num_experts": 8, "moe_intermediate_size": 704, "vocab_size": 12288},
    ),
    Plain(
        "gemma-like",
        "gemma3_text",
        TARGETS,
        _SIZES
        | {"hidden_size": 640, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256}
        | {"intermediate_size": 2048, "vocab_size": 65536, "sliding_window": 256},
    ),
)
ALL = (*SHAPES, *PLAIN)


class Watch:
    """The most memory that any child of this process has had."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> int:
        self._over.set()
        self._thread.join()
        return self.peak

    def _look(self) -> None:
        while not self._over.wait(0.01):
            for child in psutil.Process().children():
                self.peak = max(self.peak, own_bytes(child.pid))


def own_bytes(pid: int) -> int:
    """Resident bytes of a process that no file backs; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))
    )


async def measure(folder: Path, adapters: dict[str, str], dtype: str) -> int:
    """Bytes at the peak of loading and serving."""
    watch = Watch()
    config = EngineConfig(dtype=dtype, context=TOKENS, cache_tokens=STREAMS * TOKENS)
    engine = await Engine.start(folder, config)
    for name, path in adapters.items():
        await engine.add_adapter(name, Path(path))

    async def one(row: int, name: str) -> None:
        ids = [(row * 131 + 7 * i * i) % engine.facts.vocabulary for i in range(TOKENS - 32)]
        async for _ in engine.generate(ids, Sampling(max_tokens=32), adapter=name):
            pass

    await asyncio.gather(*[one(row, name) for row, name in enumerate(adapters)])
    await engine.close()
    return watch.close()


def main() -> None:
    """Measure every shape with every kind of weights, and write bench/results/fit.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append", choices=[shape.name for shape in ALL])
    parser.add_argument("--home", type=Path, default=os.environ.get("BENCH_HOME", ROOT / ".bench"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'model':<32}{'said MB':>10}{'took MB':>10}{'error':>8}")
    for shape in ALL:
        if options.shape and shape.name not in options.shape:
            continue
        folder = shape.model(options.home)
        adapters = shape.adapters(options.home, ADAPTERS)
        for dtype in DTYPES[:2] if isinstance(shape, Plain) else DTYPES:
            said = fit(
                folder,
                dtype=dtype,
                context=TOKENS,
                concurrency=STREAMS,
                adapters=ADAPTERS,
                rank=RANK,
            ).peak
            took = asyncio.run(measure(folder, adapters, dtype))
            error = said / took - 1
            rows.append({
                "work": f"{shape.name} {dtype}",
                "peer": "measured",
                "ours": round(said / 1e6),
                "theirs": round(took / 1e6),
                "unit": "MB",
                "ratio": round(said / took, 3),
                "goal": GOAL,
                "met": abs(error) <= GOAL,
            })
            print(f"{rows[-1]['work']:<32}{said / 1e6:>10.0f}{took / 1e6:>10.0f}{error:>8.1%}")
            time.sleep(0.1)
    record("fit", rows, ("torch", "transformers"))


if __name__ == "__main__":
    main()
