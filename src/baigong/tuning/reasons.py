"""Why each setting of a tuning is what it is, for whoever did not choose it."""

from __future__ import annotations

from baigong.tuning.plan import TunePlan
from baigong.tuning.spec import AUTO, TINY_PARAMETERS, TuneSpec

SHOWN = ("objective", "method", "rank", "alpha", "dropout", "epochs", "learning_rate", "batch_size")


def reasons_of(spec: TuneSpec, plan: TunePlan) -> dict[str, str]:
    """Setting -> a sentence."""
    is_tiny = plan.parameters < TINY_PARAMETERS
    size = f"{plan.parameters / 1e6:.1f} M weights"
    much = f"the base is small ({size})" if is_tiny else f"the base has {size}"
    settings = plan.settings
    steps = 200 if settings.objective == "grpo" else 3000 if is_tiny else 600
    chosen = {
        "objective": "what rows of this task teach",
        "method": "an adapter: many share one base, and it loads while others answer",
        "rank": f"{much}: " + ("there is little to reuse, so the adapter carries more" if is_tiny else "enough for a narrow task"),
        "alpha": "twice the rank, as is usual",
        "dropout": f"{much}: " + ("drawing it costs more than it brings" if is_tiny else "a little against learning rows by heart"),
        "epochs": f"about {steps} steps in all, {settings.steps} here; the best weights on the way are kept",
        "learning_rate": f"{much}: " + ("it has to move further" if is_tiny else "usual for an adapter" if settings.is_adapter else "usual for all weights"),
        "batch_size": f"{plan.rows:,} rows: " + ("few rows want many small steps" if plan.rows < 1000 else "many rows want fuller steps"),
    }  # fmt: skip
    if plan.shortened:
        chosen["epochs"] = f"as many as fit into {spec.max_minutes:g} minutes"
    given = {name for name in SHOWN if getattr(spec, name) not in {AUTO, getattr(TuneSpec(), name)}}
    return {
        name: "as you say" if name in given and not (plan.shortened and name == "epochs") else why
        for name, why in chosen.items()
    }
