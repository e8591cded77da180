"""What an evaluation found: every contender's scores with intervals, and the candidate against each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from baigong.evals.metrics import METRICS, Metric, Schema, Task
from baigong.evals.stats import (
    Interval,
    Paired,
    bootstrap,
    compare_aggregates,
    compare_scores,
    wilson,
)
from baigong.types import Row

# candidate: what was just built. incumbent: what is live. base: the untuned model. baseline: plain TF-IDF.
Contender = Literal["candidate", "incumbent", "base", "baseline"]

MAX_EXAMPLES = 10
MAX_SLICE_VALUES = 50
_SHOWN = 400


class Score(msgspec.Struct, frozen=True):
    """A metric over `n` rows with its two-sided interval at the report's confidence."""

    value: float
    low: float
    high: float
    n: int


class Scores(msgspec.Struct, frozen=True):
    """One contender. `slices` is column -> value -> metric -> score."""

    name: str
    metrics: dict[str, Score]
    slices: dict[str, dict[str, dict[str, Score]]] = {}


class Difference(msgspec.Struct, frozen=True):
    """Candidate minus another on the same rows; the p-values are one-sided (see `stats.Paired`)."""

    value: float
    low: float
    high: float
    p_better: float
    p_worse: float
    wins: int
    losses: int
    n: int
    test: str


class Example(msgspec.Struct, frozen=True):
    """A row on which the two differ, for a person to look at; long texts are cut."""

    row: str
    prompt: str
    wanted: str
    candidate: str
    other: str


class Comparison(msgspec.Struct, frozen=True):
    """The candidate against one other contender in one metric."""

    against: Contender
    metric: str
    overall: Difference
    slices: dict[str, dict[str, Difference]] = {}
    losses: tuple[Example, ...] = ()
    wins: tuple[Example, ...] = ()


class WeightLoss(msgspec.Struct, frozen=True):
    """What weights that serve as int8 or int4 lose against bfloat16.

    Attributes:
        perplexity: of the wanted answers by the weights that serve; `exact` is bfloat16's.
        rows: whose answers those are; they have `tokens`.
        metric: the gate's, where answers are short: `value` as served and `exact_value` in bfloat16.
    """

    dtype: str
    perplexity: float
    exact: float
    rows: int
    tokens: int
    metric: str = ""
    value: float | None = None
    exact_value: float | None = None

    @property
    def ratio(self) -> float:
        """Above 1 where the weights lose."""
        return self.perplexity / self.exact


class EvalReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole evaluation, as it is kept with a release. `metrics` are in the recipe's order."""

    task: Task
    metrics: tuple[str, ...]
    rows: int
    confidence: float
    scores: dict[Contender, Scores]
    comparisons: tuple[Comparison, ...] = ()
    retrieval: dict[str, float] = {}
    dataset: str = ""
    weights: WeightLoss | None = None

    def against(self, contender: Contender, metric: str) -> Comparison | None:
        """The comparison with a contender in a metric, if there was one."""
        wanted = (c for c in self.comparisons if (c.against, c.metric) == (contender, metric))
        return next(wanted, None)

    def to_json(self) -> bytes:
        """The report as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @classmethod
    def from_json(cls, content: bytes) -> EvalReport:
        """Reads what `to_json` wrote.

        Raises:
            msgspec.DecodeError: it is something else.
        """
        return msgspec.json.decode(content, type=cls)


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender's answers. Its `rows` have the ids of everyone's, but may hold its own passages."""

    name: str
    rows: Sequence[Row]
    answers: Sequence[str]


def evaluate(
    task: Task,
    metrics: Sequence[str],
    entries: Mapping[Contender, Entry],
    *,
    confidence: float = 0.95,
    schema: Schema = None,
    retrieval: Mapping[str, float] | None = None,
    dataset: str = "",
    seed: int = 0,
) -> EvalReport:
    """Scores every contender and compares the candidate with each other one, overall and by slice.

    Takes seconds for thousands of rows: run it off the event loop. `retrieval` numbers come from the
    knowledge base and are only carried along.

    Raises:
        ValueError: the contenders did not answer the same rows in the same order.
    """
    _same_rows(entries)
    groups = _groups(entries["candidate"].rows)
    table = _Table([METRICS[name] for name in metrics], entries, confidence, schema, seed)
    others: list[Contender] = [who for who in entries if who != "candidate"]
    return EvalReport(
        task=task,
        metrics=tuple(metrics),
        rows=len(entries["candidate"].rows),
        confidence=confidence,
        scores={who: table.scores(who, groups) for who in entries},
        comparisons=tuple(
            table.comparison(who, metric, groups) for who in others for metric in table.metrics
        ),
        retrieval=dict(retrieval or {}),
        dataset=dataset,
    )


def _same_rows(entries: Mapping[Contender, Entry]) -> None:
    wanted = [row.id for row in entries["candidate"].rows]
    for who, entry in entries.items():
        if [row.id for row in entry.rows] != wanted:
            raise ValueError(f"{who} answered other rows than the candidate")
        if len(entry.answers) != len(wanted):
            raise ValueError(f"{who} has {len(entry.answers)} answers for {len(wanted)} rows")


Groups = dict[str, dict[str, list[int]]]


def _groups(rows: Sequence[Row]) -> Groups:
    """Row numbers by slice: column -> value -> rows. The most frequent values, where there are many."""
    groups: Groups = {}
    for i, row in enumerate(rows):
        for column, value in row.slices.items():
            groups.setdefault(column, {}).setdefault(value, []).append(i)
    for column, values in groups.items():
        sizes = Counter({value: len(members) for value, members in values.items()})
        kept = sorted(value for value, _ in sizes.most_common(MAX_SLICE_VALUES))
        groups[column] = {value: values[value] for value in kept}
    return groups


class _Table:
    """Row scores by contender and metric, computed once; the slices are cut out of them."""

    def __init__(
        self,
        metrics: Sequence[Metric],
        entries: Mapping[Contender, Entry],
        confidence: float,
        schema: Schema,
        seed: int,
    ) -> None:
        self.metrics = metrics
        self.entries = entries
        self.confidence = confidence
        self.seed = seed
        self.by_row = {
            (who, metric.name): metric.row_scores(entry.rows, entry.answers, schema)
            for who, entry in entries.items()
            for metric in metrics
        }

    def scores(self, who: Contender, groups: Groups) -> Scores:
        everything = range(len(self.entries[who].rows))
        return Scores(
            name=self.entries[who].name,
            metrics={metric.name: self._score(who, metric, everything) for metric in self.metrics},
            slices={
                column: {
                    value: {m.name: self._score(who, m, members) for m in self.metrics}
                    for value, members in values.items()
                }
                for column, values in groups.items()
            },
        )

    def _score(self, who: Contender, metric: Metric, members: Sequence[int]) -> Score:
        scores = self.by_row[who, metric.name][list(members)]
        n = len(scores)
        interval: Interval
        if metric.is_binary:
            interval = wilson(float(scores.sum()), n, self.confidence)
        else:
            aggregate = metric.over(scores, *self._texts(who, members))
            interval = bootstrap(aggregate, n, self.confidence, seed=self.seed)
        return Score(*interval, n=n)

    def _texts(self, who: Contender, members: Iterable[int]) -> tuple[list[str], list[str]]:
        entry = self.entries[who]
        members = list(members)
        return [entry.rows[i].answer for i in members], [entry.answers[i] for i in members]

    def comparison(self, who: Contender, metric: Metric, groups: Groups) -> Comparison:
        delta = self.by_row["candidate", metric.name] - self.by_row[who, metric.name]
        is_first = metric is self.metrics[0]
        lost = np.flatnonzero(delta < 0)[:MAX_EXAMPLES] if is_first else ()
        won = np.flatnonzero(delta > 0)[:MAX_EXAMPLES] if is_first else ()
        return Comparison(
            against=who,
            metric=metric.name,
            overall=self._difference(who, metric, range(len(delta))),
            slices={
                column: {value: self._difference(who, metric, m) for value, m in values.items()}
                for column, values in groups.items()
            },
            losses=tuple(self._example(who, int(i)) for i in lost),
            wins=tuple(self._example(who, int(i)) for i in won),
        )

    def _difference(self, who: Contender, metric: Metric, members: Sequence[int]) -> Difference:
        chosen = list(members)
        first = self.by_row["candidate", metric.name][chosen]
        second = self.by_row[who, metric.name][chosen]
        paired: Paired = compare_scores(
            first, second, self.confidence, is_binary=metric.is_binary, seed=self.seed
        )
        if metric.score is None:
            mine = metric.over(first, *self._texts("candidate", chosen))
            theirs = metric.over(second, *self._texts(who, chosen))
            paired = compare_aggregates(
                lambda weights: mine(weights) - theirs(weights),
                len(chosen),
                self.confidence,
                seed=self.seed,
            )._replace(wins=paired.wins, losses=paired.losses)
        return Difference(
            value=paired.difference,
            low=paired.low,
            high=paired.high,
            p_better=paired.p_better,
            p_worse=paired.p_worse,
            wins=paired.wins,
            losses=paired.losses,
            n=len(chosen),
            test=paired.test,
        )

    def _example(self, who: Contender, i: int) -> Example:
        row = self.entries["candidate"].rows[i]
        return Example(
            row=row.id,
            prompt=row.messages[-1].content[-_SHOWN:],
            wanted=row.answer[:_SHOWN],
            candidate=self.entries["candidate"].answers[i][:_SHOWN],
            other=self.entries[who].answers[i][:_SHOWN],
        )
