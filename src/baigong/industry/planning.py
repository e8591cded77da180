"""What a build would do, and what it would take: everything but the work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from baigong.compute.memory import available
from baigong.errors import Problem
from baigong.evals.stats import detectable_difference
from baigong.industry.build import Workshop
from baigong.industry.choices import Choice, choices_of
from baigong.industry.data.loading import load_rows
from baigong.industry.data.report import DataReport
from baigong.industry.recipe import Recipe
from baigong.industry.teaching import find_teacher, wish_of
from baigong.tuning.plan import TunePlan, plan_tuning
from baigong.tuning.probe import Probe, probe


class BuildPlan(msgspec.Struct, frozen=True):
    """What a build comes to.

    Attributes:
        reasons: how a recipe was worked out, where nobody wrote one.
        lacking: what has to be mended before it can be built.
        probe: what ten steps took; None where nothing was tried.
        seconds: that the tuning takes, by the probe if there is one.
        is_shortened: whether it is cut to end in `tune.max_minutes`.
        free_bytes: of memory, on this machine now.
        test_rows: that contenders are judged by.
        detectable: the least difference in a 0/1 metric that those are likely to show.
    """

    name: str
    task: str
    base: str
    live: str | None
    reasons: tuple[str, ...]
    data: DataReport
    lacking: tuple[str, ...]
    tune: TunePlan
    probe: Probe | None
    seconds: float
    is_shortened: bool
    memory_bytes: int
    free_bytes: int
    test_rows: int
    detectable: float
    choices: tuple[Choice, ...]


async def plan_build(
    shop: Workshop, recipe: Recipe, reasons: Sequence[str] = (), *, tries: bool = True
) -> BuildPlan:
    """Read the rows, plan the tuning and, unless told not to, try ten steps of it.

    Raises:
        As `build`, but for rows that are too few.
    """
    base = await asyncio.to_thread(shop.hub.get, "model", recipe.base)
    lacking: list[Problem] = []
    dataset = await asyncio.to_thread(load_rows, shop.hub, recipe, base, lacking)
    spec = wish_of(recipe, await asyncio.to_thread(find_teacher, shop.serving, recipe))
    plan = await asyncio.to_thread(plan_tuning, dataset.rows, base.folder, spec)
    tried = await probe(dataset.rows, base.folder, spec) if tries else None
    seconds = plan.seconds if tried is None else tried.seconds(plan)
    limit = None if spec.max_minutes is None else 60 * spec.max_minutes
    number = shop.releases.live().get(recipe.name)
    judged = dataset.report.rows["test"]
    judged = min(judged, recipe.evals.max_rows or judged)
    return BuildPlan(
        name=recipe.name,
        task=recipe.task,
        base=base.ref,
        live=None if number is None else f"{recipe.name}@{number}",
        reasons=tuple(reasons),
        data=dataset.report,
        lacking=tuple(map(str, lacking)),
        tune=plan,
        probe=tried,
        seconds=seconds if limit is None else min(seconds, limit),
        is_shortened=plan.shortened or (limit is not None and seconds > limit),
        memory_bytes=plan.memory_bytes if tried is None else tried.memory_bytes,
        free_bytes=round(available()),
        test_rows=judged,
        detectable=detectable_difference(judged, confidence=recipe.gate.confidence),
        choices=tuple(choices_of(recipe, spec, plan)),
    )
