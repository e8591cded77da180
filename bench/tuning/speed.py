"""Training speed and memory of one adapter, beside the trainers of the field with their defaults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from baigong.hub.hub import FOUNDATION
from baigong.tuning.spec import TuneSpec
from baigong.tuning.tune import lay_job
from bench.engine.shapes import SHAPES
from bench.environment import CannotInstall, interpreter
from bench.record import row
from bench.tuning.rows import rows, write_chat

ROOT = Path(__file__).resolve().parents[2]
RANK = 16
# Shape -> (rows, sentences of an answer, steps, those of them that are not counted). The two that are
# made here have a tokenizer that makes a token of a byte.
WORKS = {
    "sapling": (400, 3.0, 43, 3),
    "25m": (80, 0.6, 9, 2),
    "qwen3-0.6b": (24, 0.2, 3, 1),
}
_TRL = (
    "torch==2.13.0",
    "trl==1.16.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "accelerate==1.15.0",
    "datasets==5.2.0",
)
# What LLaMA-Factory brings for pictures and sound is built for another torch.
_UNWANTED = {"llamafactory": ("torchvision", "torchaudio")}
PEERS = {
    "TRL": ("trl", _TRL, {"speed": 2.0, "memory": 0.8}),
    "TRL, float32": ("trl", _TRL, {"speed": 2.0, "memory": 0.8}),
    "LLaMA-Factory": ("llamafactory", ("torch==2.13.0", "llamafactory==0.9.5"), {"speed": 1.5}),
}


def measure(home: Path, *, shapes: Sequence[str] = tuple(WORKS)) -> Iterator[dict[str, Any]]:
    """Tokens per second of processor time, the kernels warm, and the most memory that the process held.

    Ours runs before and after each peer, so that what else the machine does weighs on both alike.
    """
    for shape in shapes:
        count, sentences, *steps = WORKS[shape]
        base = FOUNDATION / shape if shape == "sapling" else _shape(shape, home)
        listed = rows(count, sentences=sentences)
        for peer, (name, packages, goals) in PEERS.items():
            before = _ours(base, listed, steps)
            try:
                options = peer.split(", ")[1:]
                theirs = _theirs(home, name, packages, base, listed, steps, options)
            except (CannotInstall, subprocess.CalledProcessError) as error:
                print(f"{peer} does not run: {getattr(error, 'stderr', error)[-1500:]}")
                continue
            mine = [before, _ours(base, listed, steps)]
            ours = sum(map(_rate, mine)) / len(mine)
            speed = {"goal": goals.get("speed"), "peer": peer, "theirs": _rate(theirs)}
            yield row(f"LoRA, {shape}", ours, "tokens/s of CPU", **speed)
            held = {"goal": goals.get("memory"), "peer": peer, "theirs": _gib(theirs)}
            most = max(map(_gib, mine))
            yield row(f"peak memory, {shape}", most, "GiB", is_less_better=True, **held)


def _shape(name: str, home: Path) -> Path:
    return next(shape for shape in SHAPES if shape.name == name).model(home)


def _rate(found: dict[str, float]) -> float:
    return found["tokens"] / found["cpu_seconds"]


def _gib(found: dict[str, float]) -> float:
    return found["memory_bytes"] / 2**30


def _ours(base: Path, listed: list[Any], steps: Sequence[int]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        lay_job(listed, base, TuneSpec(rank=RANK), Path(folder, "work"))
        module = ("-m", "bench.tuning.ours", f"{folder}/work", *map(str, steps))
        return _run([sys.executable, *module], {})


def _theirs(
    home: Path,
    name: str,
    packages: Sequence[str],
    base: Path,
    listed: list[Any],
    steps: Sequence[int],
    options: Sequence[str],
) -> dict[str, float]:
    python = interpreter(home, name, packages, unwanted=_UNWANTED.get(name, ()))
    script = Path(__file__).parent / "peers" / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        chat = write_chat(Path(folder), listed)
        return _run(
            [str(python), str(script), str(base), str(chat), *map(str, steps), str(RANK), *options],
            {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"},
        )


def _run(command: list[str], env: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | env
    )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
