"""Why each setting of a tuning is what it is, for whoever did not choose it."""

from __future__ import annotations

from typing import NamedTuple

from baigong.tuning.plan import TunePlan
from baigong.tuning.spec import AUTO, TINY_PARAMETERS, TuneSpec

SHOWN = ("objective", "method", "rank", "alpha", "dropout", "epochs", "learning_rate", "batch_size")
OF_ADAPTERS = frozenset({"rank", "alpha", "dropout"})


class Reason(NamedTuple):
    """A sentence in English and in Chinese."""

    en: str
    zh: str


_GIVEN = Reason("as you say", "按你的设置")
_RANK = {
    True: Reason("there is little to reuse, so the adapter carries more", "可复用的少，适配器要多承担一些"),
    False: Reason("enough for a narrow task", "对专门任务足够"),
}  # fmt: skip
_DROPOUT = {
    True: Reason("drawing it costs more than it brings", "随机丢弃得不偿失"),
    False: Reason("a little against learning rows by heart", "略加一点，防止死记数据"),
}
_RATE = {
    "tiny": Reason("it has to move further", "需要走得更远"),
    "adapter": Reason("usual for an adapter", "适配器的常用值"),
    "full": Reason("usual for all weights", "全量微调的常用值"),
}
_BATCH = {
    True: Reason("few rows want many small steps", "数据少，宜多走小步"),
    False: Reason("many rows want fuller steps", "数据多，每步宜取更多"),
}


def reasons_of(spec: TuneSpec, plan: TunePlan) -> dict[str, Reason]:
    """Setting -> a sentence."""
    is_tiny = plan.parameters < TINY_PARAMETERS
    size = f"{plan.parameters / 1e6:.1f} M"
    much = Reason(
        f"the base is small ({size} weights)" if is_tiny else f"the base has {size} weights",
        f"基座较小（{size} 参数）" if is_tiny else f"基座有 {size} 参数",
    )
    settings = plan.settings
    steps = 200 if settings.objective == "grpo" else 3000 if is_tiny else 600
    rate = "tiny" if is_tiny else "adapter" if settings.is_adapter else "full"
    rows = Reason(f"{plan.rows:,} rows", f"{plan.rows:,} 条数据")
    chosen = {
        "objective": Reason("what rows of this task teach", "这类任务的数据所教的"),
        "method": Reason(
            "an adapter: many share one base, and it loads while others answer",
            "适配器：多个共用一个基座，加载时不影响其他回答",
        ),
        "rank": _because(much, _RANK[is_tiny]),
        "alpha": Reason("twice the rank, as is usual", "通常取秩的两倍"),
        "dropout": _because(much, _DROPOUT[is_tiny]),
        "epochs": Reason(
            f"about {steps} steps in all, {settings.steps} here; the best weights on the way are kept",
            f"总共约 {steps} 步，这里是 {settings.steps} 步；保留途中最好的权重",
        ),
        "learning_rate": _because(much, _RATE[rate]),
        "batch_size": _because(rows, _BATCH[plan.rows < 1000]),
    }
    given = {name for name in SHOWN if getattr(spec, name) not in {AUTO, getattr(TuneSpec(), name)}}
    chosen |= dict.fromkeys(given, _GIVEN)
    if plan.shortened:
        minutes = f"{spec.max_minutes:g}"
        chosen["epochs"] = Reason(
            f"as many as fit into {minutes} minutes", f"{minutes} 分钟内能走完的轮数"
        )
    return chosen


def _because(fact: Reason, why: Reason) -> Reason:
    return Reason(f"{fact.en}: {why.en}", f"{fact.zh}：{why.zh}")
