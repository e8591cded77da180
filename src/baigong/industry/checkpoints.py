"""The adapters of a build's last evaluations, kept in the hub beside its result."""

from __future__ import annotations

from pathlib import Path

import msgspec

from baigong.hub.hub import Hub
from baigong.tuning.tune import kept_checkpoints

TUNE_FOLDER = "tune"  # below a job's own


def hub_name(name: str) -> str:
    """What the datasets and adapters of a recipe are called in the hub."""
    return f"recipes/{name}"


def keep_checkpoints(hub: Hub, name: str, base: str, folder: Path) -> dict[str, str]:
    """Put them into the hub: step -> ref, the oldest first. Not while it trains.

    Args:
        hub: where to.
        name: the recipe's.
        base: what it is tuned from, as a ref.
        folder: of the tuning.
    """
    kept = {}
    for place, point in kept_checkpoints(folder):
        facts = {"base": base, "point": msgspec.to_builtins(point)}
        kept[str(point.step)] = hub.add("model", hub_name(name), place, facts, private=True).ref
    return kept
