"""Packed weights on disk: the same bits, and never a broken file."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from baigong.inference.client import Engine
from baigong.inference.engine.__main__ import load
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.messages import EngineConfig
from baigong.inference.engine.native.model import NativeModel
from baigong.inference.engine.native.packed import Memory, built
from baigong.types import Sampling
from tests.models import make_model

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")

SIZES = (1000, 64, 5)


class Builder:
    """Takes blocks of SIZES full of a number, and remembers how many it had to fill."""

    def __init__(self, number: int = 7) -> None:
        self.number = number
        self.filled = 0

    def __call__(self, memory: Memory) -> list[int]:
        return [memory.take(size, self._fill) for size in SIZES]

    def _fill(self, block: np.ndarray) -> None:
        block[:] = self.number + self.filled % len(SIZES)
        self.filled += 1


def blocks(addresses: list[int]) -> list[np.ndarray]:
    """Copies of what lies there."""
    import ctypes

    pairs = zip(addresses, SIZES, strict=True)
    return [np.frombuffer(ctypes.string_at(a, size), np.uint8) for a, size in pairs]


def contents(build: Callable[[Memory], list[int]], folder: Path | None, **limits: int) -> list[int]:
    """The one value in each block, in whatever memory it lies."""
    addresses, held = built(build, folder, "key", **limits)
    assert held is not None
    found = blocks(addresses)
    assert all((block == block[0]).all() for block in found)
    return [int(block[0]) for block in found]


def test_a_second_start_fills_nothing(tmp_path: Path) -> None:
    assert contents(Builder(), None) == [7, 8, 9]
    first, second = Builder(), Builder()
    assert contents(first, tmp_path / "new" / "folder") == [7, 8, 9] and first.filled == 3
    assert contents(second, tmp_path / "new" / "folder") == [7, 8, 9] and second.filled == 0


def test_blocks_are_aligned(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        addresses, _held = built(Builder(), folder, "key")
        assert [address % 64 for address in addresses] == [0, 0, 0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[:40],
        lambda data: b"X" + data[1:],
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:64] + bytes(len(data) - 64),
    ],
    ids=["shorter", "longer", "empty", "half a header", "magic", "one bit", "zeros"],
)
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    contents(Builder(), tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    builder = Builder()
    assert contents(builder, tmp_path) == [7, 8, 9]
    assert builder.filled == 3
    assert path.read_bytes() == whole


def test_where_it_cannot_be_kept_memory_serves(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert contents(Builder(), tmp_path / "file" / "packed") == [7, 8, 9]


def test_a_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "key.packed").mkdir()
    assert contents(Builder(), tmp_path) == [7, 8, 9]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))  # bytes of one file
    try:
        assert contents(Builder(), tmp_path) == [7, 8, 9]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_builder_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Builder):
        def _fill(self, block: np.ndarray) -> None:
            raise KeyError("missing tensor")

    with pytest.raises(KeyError):
        built(Broken(), tmp_path, "key")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_killed_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from baigong.inference.engine.native.packed import built

def build(memory):
    memory.take(1 << 20, lambda block: block.fill(1))
    memory.take(1 << 20, lambda block: os.kill(os.getpid(), signal.SIGKILL))

built(build, Path({str(tmp_path)!r}), "key")
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL
    (partial,) = tmp_path.iterdir()
    assert partial.suffix == ".partial"
    assert contents(Builder(), tmp_path) == [7, 8, 9]
    assert partial.exists()  # another process might still be writing it
    os.utime(partial, (1, 1))
    built(Builder(), tmp_path, "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.packed", "other.packed"]


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        built(Builder(), tmp_path, name)
        os.utime(tmp_path / f"{name}.packed", (time.time() - 100, time.time() - 100))
    size = (tmp_path / "a.packed").stat().st_size
    built(Builder(), tmp_path, "a")
    os.utime(tmp_path / "b.packed", (1, 1))
    built(Builder(), tmp_path, "d", 3 * size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.packed", "c.packed", "d.packed"]
    assert contents(Builder(), tmp_path, limit=size - 1) == [7, 8, 9]  # too large to be kept
    assert len(list(tmp_path.iterdir())) == 3


def open_model(folder: Path, dtype: str, packed: Path | None) -> NativeModel:
    model, _ = load(folder, EngineConfig(dtype=dtype, threads=2, packed=packed))
    assert isinstance(model, NativeModel)
    return model


@torch.inference_mode()
def logits_of(model: NativeModel) -> torch.Tensor:
    ids = [(31 * i) % 250 for i in range(70)]
    sequence = Sequence(0, ids, 500, Sampling(), frozenset(), None)
    sequence.extent = model.cache.reserve(128)
    logits = model.forward(Batch.of({sequence: len(ids)}))
    assert logits is not None
    return logits


@needs_compiler
@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_a_mapped_model_answers_bit_for_bit(tmp_path: Path, kind: str, dtype: str) -> None:
    folder = make_model(tmp_path / "m", kind, hidden_size=128, intermediate_size=192)
    fresh = logits_of(open_model(folder, dtype, None))
    for _ in range(2):
        assert torch.equal(logits_of(open_model(folder, dtype, tmp_path / "packed")), fresh)
    (path,) = (tmp_path / "packed").iterdir()
    path.write_bytes(path.read_bytes()[:-64])
    assert torch.equal(logits_of(open_model(folder, dtype, tmp_path / "packed")), fresh)


@needs_compiler
def test_other_weights_in_the_same_place_are_packed_anew(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    for seed in (1, 2):
        folder = make_model(tmp_path / "m", "qwen3", seed=seed, shards=2)
        found = logits_of(open_model(folder, "int8", packed))
        assert torch.equal(found, logits_of(open_model(folder, "int8", None)))
    logits_of(open_model(folder, "int4", packed))
    assert len(list(packed.iterdir())) == 3


@needs_compiler
@pytest.mark.anyio
async def test_an_engine_starts_again_from_what_it_kept(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3", hidden_size=128)
    answers = []
    for packed in (None, tmp_path / "packed", tmp_path / "packed"):
        engine = await Engine.start(folder, EngineConfig(dtype="int4", threads=1, packed=packed))
        tokens = engine.generate([1, 2, 3], Sampling(max_tokens=20))
        answers.append([token.id async for token in tokens])
        await engine.close()
    assert answers[0] == answers[1] == answers[2]
    assert len(list((tmp_path / "packed").iterdir())) == 1


@needs_compiler
def test_the_context_is_not_part_of_what_is_packed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    fresh = logits_of(open_model(folder, "int8", tmp_path / "packed"))
    model, _ = load(folder, EngineConfig(dtype="int8", context=256, packed=tmp_path / "packed"))
    assert isinstance(model, NativeModel)
    assert torch.equal(logits_of(model), fresh)
    assert len(list((tmp_path / "packed").iterdir())) == 1


@needs_compiler
def test_what_is_quick_to_pack_is_not_kept(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    for dtype in ("float32", "bfloat16"):
        logits_of(open_model(folder, dtype, tmp_path / "packed"))
    assert not (tmp_path / "packed").exists()
