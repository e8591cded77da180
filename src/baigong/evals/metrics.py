"""The metrics, in one table: a name, the tasks it fits, and what one answer scores."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from baigong.evals.text import fold, normalise, tokens
from baigong.graders import common_subsequence
from baigong.types import Row

Task = Literal[
    "chat",
    "classification",
    "extraction",
    "grounded",
    "preference",
    "text",
    "regression",
    "pairs",
    "images",
]
Schema = Mapping[str, Any] | None
Floats = NDArray[np.float64]

# How a number over resampled rows is computed: row weights (samples x rows) -> one value per sample.
Aggregate = Callable[[Floats], Floats]

_CITED = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to score. `score` gives a row's score in 0..1 (higher is better); None: only rows together.

    `is_binary` scores are 0 or 1, so that two contenders are compared by McNemar's test.
    """

    name: str
    title: str
    title_zh: str
    tasks: tuple[Task, ...]
    is_binary: bool = False
    score: Callable[[Row, str, Schema], float] | None = None

    def row_scores(self, rows: Sequence[Row], answers: Sequence[str], schema: Schema) -> Floats:
        """What each row scores; for an aggregate metric, whether the row is right."""
        score = self.score or _accuracy
        pairs = zip(rows, answers, strict=True)
        return np.array([score(row, answer, schema) for row, answer in pairs], dtype=np.float64)

    def over(self, scores: Floats, wanted: Sequence[str], answers: Sequence[str]) -> Aggregate:
        """The metric's value as a function of row weights, for bootstraps, from its `row_scores`."""
        return macro_f1(wanted, answers) if self.score is None else mean_of(scores)

    def value(self, rows: Sequence[Row], answers: Sequence[str], schema: Schema = None) -> float:
        """The metric over all rows."""
        scores = self.row_scores(rows, answers, schema)
        value = self.over(scores, [row.answer for row in rows], answers)
        return float(value(np.ones((1, len(rows))))[0])


def mean_of(scores: Floats) -> Aggregate:
    """The weighted mean."""
    return lambda weights: np.asarray(weights @ scores / weights.sum(axis=1))


def macro_f1(wanted: Sequence[str], answers: Sequence[str]) -> Aggregate:
    """The mean F1 over the labels wanted.

    An answer that is no label counts against the label it should have been, and is not a label of
    its own: a model that babbles would otherwise be averaged over thousands of empty classes.
    """
    labels = sorted({_label(text) for text in wanted})
    column = {label: i for i, label in enumerate(labels)}
    is_wanted = np.zeros((len(wanted), len(labels)))
    is_given = np.zeros_like(is_wanted)
    for i, (want, answer) in enumerate(zip(wanted, answers, strict=True)):
        is_wanted[i, column[_label(want)]] = 1
        if _label(answer) in column:
            is_given[i, column[_label(answer)]] = 1
    is_hit = is_wanted * is_given

    def value(weights: Floats) -> Floats:
        support = weights @ is_wanted
        total = support + weights @ is_given
        f1 = np.divide(2 * (weights @ is_hit), total, out=np.zeros_like(total), where=total > 0)
        present = support > 0
        return np.asarray((f1 * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    return value


def _label(text: str) -> str:
    return normalise(text)


def _accuracy(row: Row, answer: str, _: Schema) -> float:
    return float(_label(answer) == _label(row.answer))


def _exact_match(row: Row, answer: str, _: Schema) -> float:
    wanted, given = read_json(row.answer), read_json(answer)
    if isinstance(wanted, dict | list):
        return float(same_json(wanted, given))
    return float(fold(answer) == fold(row.answer))


def _f1(hits: float, wanted: int, given: int) -> float:
    if not wanted and not given:
        return 1.0
    return 2 * hits / (wanted + given)


def bag_f1(wanted: Sequence[Hashable], given: Sequence[Hashable]) -> float:
    """F1 of two bags of things."""
    hits = sum((Counter(wanted) & Counter(given)).values())
    return _f1(hits, len(wanted), len(given))


def _comparable(row: Row, answer: str) -> tuple[list[str], list[str]]:
    """Tokens of both; a text of punctuation alone is compared character by character."""
    text = row.answer
    if _CITED.match(text):
        text, answer = _CITED.sub("", text), _CITED.sub("", answer)  # `citation` scores these
    wanted, given = tokens(text), tokens(answer)
    return (wanted, given) if wanted or given else (list(fold(text)), list(fold(answer)))


def _token_f1(row: Row, answer: str, _: Schema) -> float:
    return bag_f1(*_comparable(row, answer))


def _rouge_l(row: Row, answer: str, _: Schema) -> float:
    wanted, given = _comparable(row, answer)
    return _f1(common_subsequence(wanted, given), len(wanted), len(given))


def read_json(text: str) -> Any:
    """The JSON value that a text is, whole; None if it is not JSON. Code fences are not forgiven."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_validity(_: Row, answer: str, schema: Schema) -> float:
    value = read_json(answer)
    if schema is None:
        return float(isinstance(value, dict))
    return float(value is not None and Draft202012Validator(schema).is_valid(value))


def _field_f1(row: Row, answer: str, _: Schema) -> float:
    """F1 over (field, value) pairs; nested fields count each, an answer that is no object scores 0."""
    given = read_json(answer)
    if not isinstance(given, dict):
        return 0.0
    return bag_f1(list(_fields(read_json(row.answer))), list(_fields(given)))


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _fields(child, f"{path}.{key}")
    elif isinstance(value, list):
        for child in value:
            yield from _fields(child, f"{path}[]")
    else:
        yield path, _leaf(value)


def _leaf(value: Any) -> str:
    """Text in its normal form; numbers by value, so that 5 and 5.0 agree; true is not 1."""
    if isinstance(value, bool) or value is None:
        return f"literal:{value}"
    if isinstance(value, int | float):
        return f"number:{float(value) if abs(value) < 2**53 else value}"
    return f"text:{normalise(str(value))}"


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values agree; the order of keys is free, that of lists is not."""
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and a.keys() == b.keys() and all(same_json(a[k], b[k]) for k in a)
        )
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same_json, a, b))
    return not isinstance(b, dict | list) and _leaf(a) == _leaf(b)


def _citation(row: Row, answer: str, _: Schema) -> float:
    """Whether the first [k] names a passage that holds the quoted text, or rightly there is none.

    Overlapping passages may both hold the sentence, and citing either is right: so the passage
    itself is looked up in the prompt, as `ground_row` wrote it there.
    """
    wanted, given = _CITED.match(row.answer), _CITED.search(answer)
    if wanted is None or given is None:
        return float(wanted is None and given is None)
    if int(given[1]) == int(wanted[1]):
        return 1.0
    quoted = fold(row.answer[wanted.end() :])
    passage = cited_passage(row.messages[-1].content, int(given[1]))
    return float(bool(quoted) and quoted in fold(passage))


def cited_passage(prompt: str, k: int) -> str:
    """The text of passage [k] in a grounded prompt, or "" if there is none."""
    found = re.search(rf"^\[{k}\](?: .*)?\n((?:>.*\n?)+)", prompt, re.MULTILINE)
    return "" if found is None else re.sub("^> ?", "", found[1], flags=re.MULTILINE).strip()


def _closeness(row: Row, answer: str, _: Schema) -> float:
    """How near two numbers are by their sizes: 1 where they agree, 0 where one is zero or signs differ."""
    wanted, given = _number(row.answer), _number(answer)
    if wanted is None or given is None:
        return 0.0
    size = abs(wanted) + abs(given)
    return 1 - abs(wanted - given) / size if size else 1.0


def _within_tenth(row: Row, answer: str, _: Schema) -> float:
    """Whether two numbers differ by at most a tenth of the larger."""
    wanted, given = _number(row.answer), _number(answer)
    if wanted is None or given is None:
        return 0.0
    return float(abs(wanted - given) <= 0.1 * max(abs(wanted), abs(given)))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _first(_: Row, answer: str, __: Schema) -> float:
    """Of a search, whose answer is the place at which it found what was wanted."""
    return float(answer == "1")


def _reciprocal(_: Row, answer: str, __: Schema) -> float:
    return 1 / int(answer) if answer.isdigit() and int(answer) else 0.0


BITS = " bits a byte"  # what follows the number that stands for a model's reading of a text


def _bits_saved(_: Row, answer: str, __: Schema) -> float:
    """The share of a text's bits that a model's likelihood would save if it were written by it.

    The answer is the number of bits that each byte costs: 8 unread, and more is no better than 8.
    """
    return max(0.0, 1 - float(answer.removesuffix(BITS)) / 8)


CHOSEN, REJECTED = "chosen", "rejected"
AS_A_WHOLE = "as a whole"


def preferred(by_token: bool, by_sum: bool) -> str:
    """The answer of a task that is judged by scoring: which of two answers a model finds likelier.

    Per token, and where that differs by the likelihood of the whole as well.
    """
    first, second = (CHOSEN if is_chosen else REJECTED for is_chosen in (by_token, by_sum))
    return first if first == second else f"{first} per token, {second} {AS_A_WHOLE}"


def _preference(row: Row, answer: str, _: Schema) -> float:
    """Whether the likelier answer, per token, is the one preferred; a bad one is not to be chosen."""
    return float(answer.startswith(CHOSEN) == (row.is_good is not False))


def _preference_whole(row: Row, answer: str, _: Schema) -> float:
    """The same by the likelihood of whole answers, where a shorter one has it easier."""
    found = answer.removesuffix(f" {AS_A_WHOLE}").rpartition(", ")[2]
    return float(found.startswith(CHOSEN) == (row.is_good is not False))


_ALL: tuple[Task, ...] = ("chat", "classification", "extraction", "grounded")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "Accuracy", "准确率", ("classification", "images"), True, _accuracy),
        Metric("macro_f1", "Macro F1", "宏平均 F1", ("classification", "images")),
        Metric("exact_match", "Exact match", "完全匹配率", _ALL, True, _exact_match),
        Metric("token_f1", "Token F1", "词元 F1", ("chat", "grounded"), False, _token_f1),
        Metric("rouge_l", "ROUGE-L", "ROUGE-L", ("chat", "grounded"), False, _rouge_l),
        Metric("field_f1", "Field F1", "字段 F1", ("extraction",), False, _field_f1),
        Metric("json_validity", "Valid JSON", "JSON 有效率", ("extraction",), True, _json_validity),
        Metric("bits_saved", "Bits saved", "节省的比特", ("text",), False, _bits_saved),
        Metric("citation", "Right citation", "引用正确率", ("grounded",), True, _citation),
        Metric("closeness", "Closeness", "接近度", ("regression",), False, _closeness),
        Metric(
            "within_tenth", "Within a tenth", "误差一成内", ("regression",), True, _within_tenth
        ),
        Metric("recall_at_1", "Recall at 1", "首位召回率", ("pairs",), True, _first),
        Metric("mrr", "Mean reciprocal rank", "平均倒数排名", ("pairs",), False, _reciprocal),
        Metric("preference", "Preference", "偏好正确率", ("preference",), True, _preference),
        Metric(
            "preference_whole",
            "Preference by whole answers",
            "整体偏好正确率",
            ("preference",),
            True,
            _preference_whole,
        ),
    )
}

# The first of a task's metrics is the one its gate looks at, unless the recipe names another.
DEFAULT_METRICS: dict[Task, tuple[str, ...]] = {
    "chat": ("rouge_l", "token_f1", "exact_match"),
    "classification": ("accuracy", "macro_f1"),
    "extraction": ("field_f1", "json_validity", "exact_match"),
    "grounded": ("citation", "token_f1"),
    "regression": ("closeness", "within_tenth"),
    "pairs": ("recall_at_1", "mrr"),
    "images": ("accuracy", "macro_f1"),
    "text": ("bits_saved",),
    "preference": ("preference", "preference_whole"),
}
