"""What the machine can do at most, measured in the same run: `python -m bench.engine.limits THREADS`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from bench.engine.shapes import Shape

# Of one weight while a token is made; a group of 32 four-bit weights shares a 16-bit scale.
BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5625}

TRIES = 7


def measured(threads: int) -> dict[str, float]:
    """Reading memory in GB/s, and 2048^3 matrix products in GFLOP/s: the best of a few tries."""
    torch.set_num_threads(threads)
    data = torch.ones(2**28)
    limits = {"read_gb_s": data.numel() * 4 / 1e9 / _best(data.sum)}
    for name in ("float32", "bfloat16"):
        matrix = torch.ones(2048, 2048, dtype=getattr(torch, name))
        limits[f"gemm_{name}_gflop_s"] = 2 * 2048**3 / 1e9 / _best(lambda m=matrix: m @ m)
    return {name: round(value, 1) for name, value in limits.items()}


def most(limits: dict[str, float], shape: Shape, weights: str, streams: int) -> float:
    """Tokens a second if a step cost only reading each weight once, or only its products."""
    reading = streams * limits["read_gb_s"] * 1e9 / (shape.matrix_weights * BYTES[weights])
    kind = "float32" if weights == "float32" else "bfloat16"
    products = limits[f"gemm_{kind}_gflop_s"] * 1e9 / (2 * shape.matrix_weights)
    return min(reading, products)


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
