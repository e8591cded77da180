"""The settings of a build, each with its reason, for whoever did not choose it."""

from __future__ import annotations

from typing import Any

import msgspec

from baigong.industry.recipe import Recipe
from baigong.tuning.plan import TunePlan
from baigong.tuning.reasons import OF_ADAPTERS, SHOWN, Reason, reasons_of
from baigong.tuning.spec import TuneSpec


class Choice(msgspec.Struct, frozen=True):
    """A setting and why it is so; `--set SETTING=VALUE` makes it another."""

    setting: str
    value: Any
    why: str
    why_zh: str


def choices_of(recipe: Recipe, spec: TuneSpec, plan: TunePlan) -> list[Choice]:
    """Those that decide most, the tuning's first."""
    why = reasons_of(spec, plan)
    chosen = [
        Choice(f"tune.{name}", getattr(plan.settings, name), *why[name])
        for name in SHOWN
        if name in type(recipe.tune).model_fields
        and (plan.settings.is_adapter or name not in OF_ADAPTERS)
    ]
    judged = Reason(f"what {recipe.task} is judged by", f"{recipe.task} 任务据此评判")
    rest = [
        Choice(
            "data.split.test", recipe.data.split.test, "kept back to judge by", "预留出来用于评判"
        ),
        Choice("gate.metric", recipe.gate.metric, *judged),
        Choice(
            "gate.minimum", recipe.gate.minimum, "what it must reach to go live", "达到才能上线"
        ),
        Choice("serve.max_tokens", recipe.serve.max_tokens, "the longest answer", "最长的回答"),
    ]
    return [*chosen, *rest]
