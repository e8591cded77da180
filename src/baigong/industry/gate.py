"""The gate: from an evaluation report to a verdict that a person can read and check.

The rule. d is the candidate minus its rival in the gate's metric, on the same rows; the rival is what is
live, or the base when nothing is. alpha is 1 - confidence; tests are paired and one-sided.

1. minimum    The candidate's value is at least `minimum`.
2. rival      With something live: d >= margin. If margin > 0, "not better" must also be rejected at
              alpha: an asked-for gain must be more than luck. If d < 0, "worse" must not be provable at
              alpha, however large a drop the margin tolerates.
              With nothing live: d > 0, and "not better than the base" is rejected at alpha.
3. slices     For each value of a named column with MIN_SLICE_ROWS rows or more: refused if the value
              drops by more than the tolerance and the drop is provable at alpha / number of slices
              judged (Bonferroni: many slices must not add up to a chance refusal).
4. baseline   Only with `beat_baseline`: at least as good as the plain baseline. Otherwise a baseline
              that is ahead is a warning.
5. knowledge  Each figure of the knowledge base that `knowledge` names is at least what it says there.
6. weights    Where int8 or int4 weights serve: the perplexity of the wanted answers is at most
              1 + `weights` times that of bfloat16.

So (a) a candidate that is provably worse never passes, whatever the margin; (b) one that is exactly equal
passes only if margin <= 0; (c) with margin 0 a candidate that is ahead on the rows passes however small
the lead, and one that is really better is refused only when the rows happen to show it behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from baigong.evals.metrics import METRICS
from baigong.evals.report import (
    Comparison,
    Contender,
    Difference,
    EvalReport,
    Score,
    WeightLoss,
)
from baigong.evals.stats import detectable_difference
from baigong.industry.recipe import Gate

# A slice with fewer rows is shown and not judged.
MIN_SLICE_ROWS = 10
# Sums of floats that are equal on paper may differ in the last digits.
_TINY = 1e-9

Said = dict[str, str]
"""One sentence by language: en and zh."""


class Check(msgspec.Struct, frozen=True):
    """One condition of the rule, with its numbers in words."""

    name: str
    passed: bool
    detail: Said


class Verdict(msgspec.Struct, frozen=True):
    """What the gate decided, in one sentence, with every check behind it."""

    passed: bool
    sentence: Said
    checks: tuple[Check, ...]
    warnings: tuple[Said, ...] = ()

    @property
    def sentence_en(self) -> str:
        return self.sentence["en"]

    @property
    def sentence_zh(self) -> str:
        return self.sentence["zh"]


def judge(report: EvalReport, spec: Gate, *, live: str | None = None) -> Verdict:
    """Applies the rule above. `live` is how the sentence calls what is live, e.g. `support@2`.

    Raises:
        ValueError: the report lacks the gate's metric or its rival, or was made at another confidence.
    """
    if spec.metric not in report.metrics:
        raise ValueError(f"the report has no {spec.metric}")
    if abs(report.confidence - spec.confidence) > _TINY:
        raise ValueError(f"the report's confidence is {report.confidence}, not {spec.confidence}")
    case = _Case.of(report, spec, live)
    slices = list(_slices(case))
    checks = [_minimum(case), _rival(case), *slices]
    checks += [*_baseline(case), *_knowledge(case), *_weights(case)]
    return Verdict(
        passed=all(check.passed for check in checks),
        sentence=_sentence(case, checks, slices),
        checks=tuple(checks),
        warnings=tuple(_warnings(case)),
    )


class _Case(NamedTuple):
    report: EvalReport
    spec: Gate
    score: Score
    rival: Comparison
    names: Said

    @classmethod
    def of(cls, report: EvalReport, spec: Gate, live: str | None) -> _Case:
        who: Contender = "incumbent" if "incumbent" in report.scores else "base"
        rival = report.against(who, spec.metric)
        if rival is None:
            raise ValueError(
                "the report compares the candidate neither with live nor with its base"
            )
        name = report.scores[who].name
        if who == "incumbent":
            name = live or name
            names = {"en": f"live {name}", "zh": f"线上 {name}"}
        else:
            names = {"en": f"the base {name}", "zh": f"基座 {name}"}
        score = report.scores["candidate"].metrics[spec.metric]
        return cls(report, spec, score, rival, names)

    @property
    def alpha(self) -> float:
        return 1 - self.spec.confidence

    @property
    def titles(self) -> Said:
        metric = METRICS[self.spec.metric]
        return {"en": metric.title, "zh": metric.title_zh}


# --- the six checks ------------------------------------------------------------------------------


def _minimum(case: _Case) -> Check:
    score, minimum = case.score, case.spec.minimum
    passed = score.value >= minimum - _TINY
    detail = {
        "en": f"{case.titles['en']} {_interval(score)}; at least {minimum:g} is asked for.",
        "zh": f"{case.titles['zh']} {_interval(score)}；要求至少 {minimum:g}。",
    }
    return Check("minimum", passed, detail)


def _rival(case: _Case) -> Check:
    difference, margin = case.rival.overall, case.spec.margin
    if case.rival.against == "base":
        passed = difference.value > _TINY and difference.p_better < case.alpha
        asked = {
            "en": f"it must be above, with p below {case.alpha:g}",
            "zh": f"必须更高，且 p 小于 {case.alpha:g}",
        }
    else:
        passed = _holds(difference, margin, case.alpha)
        asked = _asked(margin, case.alpha)
    detail = {lang: _versus(case, lang) + _STOP[lang][0] + asked[lang] for lang in asked}
    return Check("rival", passed, {lang: text + _STOP[lang][1] for lang, text in detail.items()})


def _holds(difference: Difference, margin: float, alpha: float) -> bool:
    if difference.value < margin - _TINY:
        return False
    if margin > 0:
        return difference.p_better < alpha
    return difference.value >= -_TINY or difference.p_worse >= alpha


def _asked(margin: float, alpha: float) -> Said:
    if margin > 0:
        return {
            "en": f"it must be at least {margin:g} above, with p below {alpha:g}",
            "zh": f"必须至少高 {margin:g}，且 p 小于 {alpha:g}",
        }
    if margin == 0:
        return {"en": "it must not be below", "zh": "不得更低"}
    return {
        "en": f"it may be {-margin:g} below, if not provably worse (p {alpha:g})",
        "zh": f"可低至多 {-margin:g}，但不得显著更差（p {alpha:g}）",
    }


def _judged(case: _Case) -> Iterator[tuple[str, str, float, Difference]]:
    for column, tolerance in case.spec.slices.items():
        for value, difference in case.rival.slices.get(column, {}).items():
            if difference.n >= MIN_SLICE_ROWS:
                yield column, value, tolerance, difference


def _slices(case: _Case) -> Iterator[Check]:
    judged = list(_judged(case))
    alpha = case.alpha / max(len(judged), 1)
    for column, value, tolerance, difference in judged:
        is_drop = difference.value < -tolerance - _TINY
        passed = not (is_drop and difference.p_worse < alpha)
        rows = f"p {_p(_shown_p(difference))}, {difference.n}"
        detail = {
            "en": f"{column} {value}: {difference.value:+.2f} ({rows} rows);"
            f" a drop of {tolerance:g} is tolerated.",
            "zh": f"{column} {value}：{difference.value:+.2f}（{rows} 行）；容许下降 {tolerance:g}。",
        }
        yield Check(f"slice {column}={value}", passed, detail)


def _baseline(case: _Case) -> Iterator[Check]:
    if not case.spec.beat_baseline:
        return
    comparison = case.report.against("baseline", case.spec.metric)
    if comparison is None:
        raise ValueError(
            "the gate asks for a comparison with the baseline, and the report has none"
        )
    yield Check("baseline", comparison.overall.value >= -_TINY, _beside_baseline(case, comparison))


def _knowledge(case: _Case) -> Iterator[Check]:
    for figure, minimum in case.spec.knowledge.items():
        if figure not in case.report.retrieval:
            raise ValueError(
                f"the gate asks for {figure} of the knowledge, and the report has none"
            )
        passed = case.report.retrieval[figure] >= minimum - _TINY
        said = _figure(case, figure)
        detail = {
            "en": f"{said['en']}; at least {minimum:g} is asked for.",
            "zh": f"{said['zh']}；要求至少 {minimum:g}。",
        }
        yield Check(f"knowledge {figure}", passed, detail)


def _weights(case: _Case) -> Iterator[Check]:
    loss = case.report.weights
    if loss is None:
        return
    passed = loss.ratio <= 1 + case.spec.weights + _TINY
    metric: Said = {"en": "", "zh": ""}
    if loss.value is not None and loss.exact_value is not None:
        metric = {
            "en": f" {case.titles['en']} is {loss.value:.2f}, and {loss.exact_value:.2f} in bfloat16.",
            "zh": f"{case.titles['zh']}为 {loss.value:.2f}，bfloat16 为 {loss.exact_value:.2f}。",
        }
    detail = {lang: _perplexities(case, loss, lang) + _STOP[lang][1] for lang in metric}
    yield Check("weights", passed, {lang: text + metric[lang] for lang, text in detail.items()})


# --- in words ------------------------------------------------------------------------------------

_STOP = {"en": ("; ", "."), "zh": ("；", "。")}


def _sentence(case: _Case, checks: list[Check], slices: list[Check]) -> Said:
    """`Accuracy 0.87 (0.83-0.90) is 0.12 above live support@2 (p = 0.003, 240 rows); all slices hold.`"""
    failed = [check for check in checks if not check.passed]
    sentence = {}
    for lang in ("en", "zh"):
        parts = [_versus(case, lang)]
        if failed:
            parts += [_refusal(case, check, lang) for check in failed]
        elif slices:
            parts.append({"en": "all slices hold", "zh": "所有分组均未退步"}[lang])
        sentence[lang] = _STOP[lang][0].join(parts) + _STOP[lang][1]
    return sentence


def _versus(case: _Case, lang: str) -> str:
    difference, name = case.rival.overall, case.names[lang]
    p, n = _p(_shown_p(difference)), difference.n
    size = (
        f"{abs(difference.value):.2g}"
        if abs(difference.value) < 0.01
        else f"{abs(difference.value):.2f}"
    )
    if lang == "en":
        start = f"{case.titles['en']} {_interval(case.score)} is"
        if abs(difference.value) < _TINY:
            return f"{start} level with {name} ({n} rows)"
        side = "above" if difference.value > 0 else "below"
        return f"{start} {size} {side} {name} (p {p}, {n} rows)"
    start = f"{case.titles['zh']} {_interval(case.score)}，"
    if abs(difference.value) < _TINY:
        return f"{start}与{name} 持平（{n} 行）"
    side = "高" if difference.value > 0 else "低"
    return f"{start}比{name} {side} {size}（p {p}，{n} 行）"


def _refusal(case: _Case, check: Check, lang: str) -> str:
    """Why a check failed, short enough to stand in the sentence."""
    spec, is_english = case.spec, lang == "en"
    if check.name == "minimum":
        return f"the minimum is {spec.minimum:g}" if is_english else f"未达到下限 {spec.minimum:g}"
    if check.name == "rival":
        return _why_not(case, lang)
    if check.name.startswith("knowledge "):
        figure = check.name.partition(" ")[2]
        minimum = next(value for name, value in spec.knowledge.items() if name == figure)
        asked = f", and {minimum:g} is asked for" if is_english else f"，要求至少 {minimum:g}"
        return _figure(case, figure)[lang] + asked
    if check.name == "weights" and case.report.weights is not None:
        remedy = {
            "en": "; serve it with BAIGONG_DTYPE=bfloat16",
            "zh": "；请用 BAIGONG_DTYPE=bfloat16",
        }
        return _perplexities(case, case.report.weights, lang) + remedy[lang]
    if check.name == "baseline":
        return "a plain baseline does better" if is_english else "不如朴素基线"
    _, _, name = check.name.partition(" ")
    return f"the slice {name} gets worse" if is_english else f"分组 {name} 退步"


def _figure(case: _Case, figure: str) -> Said:
    value, asked = case.report.retrieval[figure], case.report.retrieval.get("questions", 0)
    return {
        "en": f"the knowledge base's {figure} is {value:.2f} on {asked:.0f} questions",
        "zh": f"知识库的 {figure} 为 {value:.2f}（{asked:.0f} 个问题）",
    }


def _perplexities(case: _Case, loss: WeightLoss, lang: str) -> str:
    change, asked = f"{100 * (loss.ratio - 1):+.1f} %", f"{100 * case.spec.weights:g} %"
    return {
        "en": f"with {loss.dtype} weights the perplexity of {loss.rows} wanted answers is"
        f" {loss.perplexity:.4g}, and {loss.exact:.4g} in bfloat16 ({change}; {asked} is tolerated)",
        "zh": f"{loss.dtype} 权重下 {loss.rows} 条标准应答的困惑度为 {loss.perplexity:.4g}，"
        f"bfloat16 为 {loss.exact:.4g}（{change}；容许 {asked}）",
    }[lang]


def _why_not(case: _Case, lang: str) -> str:
    difference, spec = case.rival.overall, case.spec
    is_base = case.rival.against == "base"
    rows = f"{detectable_difference(difference.n, confidence=spec.confidence):.2g}"
    if difference.value > max(spec.margin, 0) - _TINY and difference.value > _TINY:
        return {
            "en": f"that may be chance: so many rows show a difference from about {rows} up",
            "zh": f"这可能只是偶然：这些行大约能分辨 {rows} 以上的差异",
        }[lang]
    if is_base or spec.margin == 0:
        return {"en": "that is no gain", "zh": "没有提升"}[lang]
    if spec.margin > 0:
        return {"en": f"{spec.margin:g} above is asked for", "zh": f"要求至少高 {spec.margin:g}"}[
            lang
        ]
    if difference.value < spec.margin - _TINY:
        return {"en": f"{-spec.margin:g} below is tolerated", "zh": f"至多容许低 {-spec.margin:g}"}[
            lang
        ]
    return {"en": "it is provably worse", "zh": "显著更差"}[lang]


def _warnings(case: _Case) -> Iterator[Said]:
    comparison = case.report.against("baseline", case.spec.metric)
    if comparison is not None and comparison.overall.value < -_TINY:
        yield _beside_baseline(case, comparison)
    for column in case.spec.slices:
        values = case.rival.slices.get(column, {})
        small = [value for value, found in values.items() if found.n < MIN_SLICE_ROWS]
        if small or not values:
            shown = ", ".join(small[:5])
            yield {
                "en": f"{column}: too few test rows to judge {shown or 'any slice'}.",
                "zh": f"{column}：测试行太少，无法判断{shown or '任何分组'}。",
            }


def _beside_baseline(case: _Case, comparison: Comparison) -> Said:
    theirs = case.report.scores["baseline"].metrics[case.spec.metric].value
    name = case.report.scores["baseline"].name
    p = _p(_shown_p(comparison.overall))
    ahead = comparison.overall.value < -_TINY
    english = "better than" if ahead else "no better than"
    chinese = "优于" if ahead else "不优于"
    return {
        "en": f"A plain baseline ({name}) scores {theirs:.2f}, {english} the candidate's"
        f" {case.score.value:.2f} (p {p}).",
        "zh": f"朴素基线（{name}）得分 {theirs:.2f}，{chinese}候选的 {case.score.value:.2f}（p {p}）。",
    }


def _interval(score: Score) -> str:
    return f"{score.value:.2f} ({score.low:.2f}-{score.high:.2f})"


def _shown_p(difference: Difference) -> float:
    """The one-sided p-value of the side on which the candidate is."""
    return difference.p_worse if difference.value < 0 else difference.p_better


def _p(p: float) -> str:
    """`= 0.003`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
