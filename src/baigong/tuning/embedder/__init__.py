"""An embedder from pairs of texts that belong together."""

from __future__ import annotations

from baigong.tuning.embedder.command import train_embedder
from baigong.tuning.embedder.plan import Plan

__all__ = ["Plan", "train_embedder"]
