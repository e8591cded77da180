"""The shapes that are measured, with random weights written once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.models import make_adapter, make_counter, make_model

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Shape:
    """A Qwen3 by its sizes.

    Attributes:
        plain: the weights that a user gets who asks for nothing.
        new: tokens of each decode request.
        runs: counted runs of each side.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocabulary: int
    plain: str
    new: int
    runs: int

    @property
    def config(self) -> dict[str, Any]:
        """The fields of config.json that differ from tests.models' defaults."""
        return {
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
        }

    @property
    def matrix_weights(self) -> int:
        """Weights that every decoded token is multiplied with; the head is the tied embedding."""
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.kv_heads)
        return (
            self.layers * (attention + 3 * self.hidden * self.inner) + self.vocabulary * self.hidden
        )

    def model(self, home: Path) -> Path:
        """The model's folder."""
        return once(home / "models" / self.name, lambda to: make_model(to, "qwen3", **self.config))

    def counter(self, home: Path) -> Path:
        """The folder of a model of this shape that counts; its head is not tied."""
        to = home / "models" / f"{self.name}-counter"
        return once(to, lambda to: make_counter(to, "qwen3", **self.config))

    def adapters(self, home: Path, count: int) -> dict[str, str]:
        """`count` rank-8 adapters of all seven projections: name to folder."""
        model = self.model(home)
        folders = {}
        for number in range(count):
            to = home / "adapters" / self.name / f"adapter{number}"
            once(
                to,
                lambda to, seed=number: make_adapter(to, model, rank=8, seed=seed, targets=TARGETS),
            )
            folders[to.name] = str(to)
        return folders


def once(folder: Path, make: Any) -> Path:
    """Make it beside its place first, so that a half-written one is never taken for whole."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        part.rename(folder)
    return folder


SHAPES = (
    Shape("sapling", 256, 6, 4, 2, 64, 768, 8192, "float32", 64, 5),
    Shape("25m", 512, 6, 8, 4, 64, 1408, 12288, "float32", 64, 5),
    Shape("qwen3-0.6b", 1024, 28, 16, 8, 128, 3072, 151936, "bfloat16", 32, 3),
)
