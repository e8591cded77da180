"""Rotary position embeddings: one row of cosines and sines for each position."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from baigong.errors import InvalidInput, Unsupported
from baigong.model.architecture import rotary_size


def rotary_table(rope: dict[str, Any], head_dim: int, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, float32 [positions, size] each, of those `size` dimensions of a head that turn.

    The first half of each row of sines is negative, so that rotating them, `x`, is
    `x * cos + roll(x, size / 2) * sin`.

    Raises:
        Unsupported: a kind of scaling that is not in SCALINGS.
    """
    kind = rope["rope_type"]
    scaling = SCALINGS.get(kind)
    if scaling is None:
        raise Unsupported(
            f"This engine does not know the rope scaling '{kind}'.",
            hint=f"It knows {', '.join(SCALINGS)}.",
        )
    size = rotary_size(rope, head_dim)
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    frequencies, factor = scaling(rope, 1.0 / rope["rope_theta"] ** powers, positions)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    cos, sin = angles.cos() * factor, angles.sin() * factor
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def _plain(rope: dict[str, Any], frequencies: Tensor, positions: int) -> tuple[Tensor, float]:
    return frequencies, 1.0


def _linear(rope: dict[str, Any], frequencies: Tensor, positions: int) -> tuple[Tensor, float]:
    return frequencies / rope["factor"], 1.0


def _llama3(rope: dict[str, Any], frequencies: Tensor, positions: int) -> tuple[Tensor, float]:
    """Long waves are stretched by `factor`, short ones stay, and those between are blended."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / rope["factor"]), 1.0


def _yarn(rope: dict[str, Any], frequencies: Tensor, positions: int) -> tuple[Tensor, float]:
    """As _llama3 with a ramp over dimensions; `factor` also sharpens attention."""
    factor, half = rope["factor"], len(frequencies)
    low = _dimension(rope, rope.get("beta_fast") or 32, half)
    high = _dimension(rope, rope.get("beta_slow") or 1, half)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    stretched = ((torch.arange(half) - low) / max(high - low, 0.001)).clamp(0, 1)
    return frequencies * (1 - stretched + stretched / factor), _yarn_attention(rope)


def _dimension(rope: dict[str, Any], turns: float, half: int) -> float:
    """The dimension whose wave turns so often within the original context."""
    wave = rope["original_max_position_embeddings"] / (turns * 2 * math.pi)
    return half * math.log(wave) / math.log(rope["rope_theta"])


def _yarn_attention(rope: dict[str, Any]) -> float:
    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(rope["factor"]) + 1.0 if rope["factor"] > 1 else 1.0

    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale(1.0)


def _longrope(rope: dict[str, Any], frequencies: Tensor, positions: int) -> tuple[Tensor, float]:
    """Each frequency has a factor of its own, and another where the context is a long one.

    Which of the two is settled by the context that is served, as in vLLM, and not by each text: a
    text that grew past the border would look back at keys that were turned otherwise.
    """
    original = rope["original_max_position_embeddings"]
    name = "long_factor" if positions > original else "short_factor"
    stretch = torch.tensor(rope.get(name) or [], dtype=torch.float32)
    if stretch.shape != frequencies.shape:
        raise InvalidInput(
            f"config.json has {len(stretch)} numbers in {name}, and {len(frequencies)} turn.",
            hint="Its rope_scaling does not belong to its sizes.",
        )
    factor, sharpness = rope["factor"], rope.get("attention_factor")
    if sharpness is None:
        sharpness = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return frequencies / stretch, float(sharpness)


SCALINGS = {
    "default": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}


def query_scales(rope: dict[str, Any], positions: int) -> Tensor | None:
    """Float32 [positions] by which queries grow beyond the original context, or None (Llama 4)."""
    beta = rope.get("llama_4_scaling_beta")
    if not beta:
        return None
    place = torch.arange(positions, dtype=torch.float32)
    turns = torch.floor(place / float(rope["original_max_position_embeddings"]))
    return torch.log1p(turns) * float(beta) + 1
