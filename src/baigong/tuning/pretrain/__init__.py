"""Pretraining: a recipe and a folder of text become a foundation model in a folder."""

from __future__ import annotations

from baigong.tuning.pretrain.command import pretrain, pretrain_command
from baigong.tuning.pretrain.recipe import PretrainRecipe, read_recipe

__all__ = ["PretrainRecipe", "pretrain", "pretrain_command", "read_recipe"]
