"""Graders: what an answer is worth, 0 to 1, by a program. Their objects are OpenAI's, and two more.

`string_check`, `text_similarity` and `multi` read as OpenAI's API writes them; `number` and
`json_schema` are ours. Nothing here runs code that a caller brings, and nothing asks a model.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from typing_extensions import override

from baigong.errors import InvalidInput

ANSWER = "{{sample.output_text}}"
WANTED = "{{item.answer}}"

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_TERM = re.compile(r"(?:(?P<a>[\d.]+)\*)?(?P<name>[A-Za-z_]\w*)(?:\*(?P<b>[\d.]+))?")
_ALWAYS = ("python", "score_model", "label_model", "endpoint")


class _Grader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all graders say.

    Attributes:
        name: for people.
        input: what is graded, always the answer.
        reference: what it is held against; `{{item.answer}}` in it is the answer wanted.
    """

    name: str = ""
    input: str = ANSWER
    reference: str = WANTED

    def __post_init__(self) -> None:
        if self.input.replace(" ", "") != ANSWER:
            raise ValueError(f"input is always {ANSWER}, the whole answer")
        left = self.reference.replace(" ", "").replace(WANTED, "")
        if "{{" in left:
            raise ValueError(f"reference may hold {WANTED} and no other variable")

    def wanted(self, answer: str) -> str:
        """The reference for a row whose wanted answer is this."""
        return re.sub(r"\{\{\s*item\.answer\s*\}\}", lambda _: answer, self.reference)


class StringCheck(_Grader, frozen=True, tag_field="type", tag="string_check"):
    """1 where the answer is, is not, or holds the reference; `ilike` is blind to case."""

    operation: Literal["eq", "ne", "like", "ilike"] = "eq"

    def grade(self, answer: str, wanted: str) -> float:
        """0 or 1."""
        given, reference = answer.strip(), self.wanted(wanted).strip()
        if self.operation == "like":
            return float(reference in given)
        if self.operation == "ilike":
            return float(reference.casefold() in given.casefold())
        return float((given == reference) == (self.operation == "eq"))


class TextSimilarity(_Grader, frozen=True, tag_field="type", tag="text_similarity"):
    """How alike answer and reference are: twice their longest common subsequence over both lengths.

    That is what rapidfuzz calls `ratio`. With `pass_threshold` it is 0 or 1.
    """

    evaluation_metric: Literal["fuzzy_match"] = "fuzzy_match"
    pass_threshold: float | None = None

    def grade(self, answer: str, wanted: str) -> float:
        """0 to 1."""
        given, reference = answer.strip(), self.wanted(wanted).strip()
        both = len(given) + len(reference)
        likeness = 2 * common_subsequence(reference, given) / both if both else 1.0
        return likeness if self.pass_threshold is None else float(likeness >= self.pass_threshold)


class Number(_Grader, frozen=True, tag_field="type", tag="number"):
    """1 where the last number of the answer is the last one of the reference.

    Commas between thousands and full-width digits are read; a unit, currency or % is passed over.

    Attributes:
        tolerance: how far it may be off; `relative` is the same as a share of the reference.
    """

    tolerance: float = 0.0
    relative: float = 0.0

    def grade(self, answer: str, wanted: str) -> float:
        """0 or 1; 0 where either has no number."""
        given, reference = last_number(answer), last_number(self.wanted(wanted))
        if given is None or reference is None:
            return 0.0
        return float(
            math.isclose(given, reference, rel_tol=max(self.relative, 1e-9), abs_tol=self.tolerance)
        )


class JsonSchema(_Grader, frozen=True, tag_field="type", tag="json_schema"):
    """The mean of what is asked of an answer that ought to be JSON.

    That it parses; that it fits `schema`, where there is one; and, with `matches`, the share of the
    fields of both, reference and answer, that agree.
    """

    schema: dict[str, Any] | None = None
    matches: bool = True

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schema is not None:
            try:
                Draft202012Validator.check_schema(self.schema)
            except SchemaError as error:
                raise ValueError(f"schema is not a JSON schema: {error.message[:200]}") from error

    def grade(self, answer: str, wanted: str) -> float:
        """0 to 1; 0 where it is not JSON."""
        try:
            given = json.loads(answer)
        except (ValueError, RecursionError):
            return 0.0
        parts = [1.0]
        if self.schema is not None:
            parts.append(float(Draft202012Validator(self.schema).is_valid(given)))
        if self.matches:
            parts.append(_agreement(given, self.wanted(wanted)))
        return sum(parts) / len(parts)


class Multi(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="multi"):
    """A weighted sum of graders.

    Attributes:
        graders: by the names that the sum gives them.
        calculate_output: the sum, e.g. `0.8 * right + 0.2 * form`.
    """

    graders: dict[str, StringCheck | TextSimilarity | Number | JsonSchema]
    calculate_output: str
    name: str = ""

    def __post_init__(self) -> None:
        unknown = self.weights.keys() - self.graders.keys()
        if unknown:
            raise ValueError(f"calculate_output names no grader: {', '.join(sorted(unknown))}")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each grader in the sum."""
        found: dict[str, float] = {}
        for term in self.calculate_output.replace(" ", "").split("+"):
            match = _TERM.fullmatch(term)
            if match is None:
                raise ValueError(
                    "calculate_output must be a weighted sum, such as 0.8 * right + 0.2 * form"
                )
            weight = float(match["a"] or 1) * float(match["b"] or 1)
            found[match["name"]] = found.get(match["name"], 0.0) + weight
        return found

    def grade(self, answer: str, wanted: str) -> float:
        """The sum; 0 to 1 where the weights add up to 1."""
        return sum(
            weight * self.graders[name].grade(answer, wanted)
            for name, weight in self.weights.items()
        )


Grader = StringCheck | TextSimilarity | Number | JsonSchema | Multi
KINDS = ("string_check", "text_similarity", "number", "json_schema", "multi")


def read_grader(data: Mapping[str, Any], param: str = "grader") -> Grader:
    """A grader from its object.

    Raises:
        InvalidInput: it is of no kind that is known here, or a field of it is wrong.
    """
    kind = data.get("type")
    if kind not in KINDS:
        why = "runs code" if kind == "python" else "asks another service"
        said = f"{why}, which no grader here does" if kind in _ALWAYS else "is no kind of grader"
        raise InvalidInput(
            f"{param}: {kind!r} {said}.", hint=f"Use one of {', '.join(KINDS)}.", param=param
        )
    try:
        grader: Grader = msgspec.convert(dict(data), Grader)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{param}: {error}.", hint="See the graders in docs/reference.md.", param=param
        ) from error
    return grader


def reward(graders: Sequence[Grader], answer: str, wanted: str) -> float:
    """The mean of what some graders give an answer."""
    return sum(grader.grade(answer, wanted) for grader in graders) / len(graders)


def last_number(text: str) -> float | None:
    """The last number in a text, which is where an answer that reckons ends."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    found = list(_NUMBER.finditer(plain))
    if not found:
        return None
    last = found[-1]
    written = last[0]
    # In 2019-2024 and a-5 the dash is no sign.
    if written[0] in "+-" and last.start() and plain[last.start() - 1].isalnum():
        written = written[1:]
    return float(written.replace(",", ""))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table at a time in one big integer.

    Hyyrö's bit-parallel method: O(len(b)) operations on len(a)-bit numbers.
    """
    positions: dict[str, int] = {}
    for i, token in enumerate(a):
        positions[token] = positions.get(token, 0) | (1 << i)
    full = (1 << len(a)) - 1
    state = full
    for token in b:
        matches = state & positions.get(token, 0)
        state = ((state + matches) | (state - matches)) & full
    return len(a) - state.bit_count()


def _agreement(given: Any, wanted: str) -> float:
    try:
        reference = json.loads(wanted)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(reference, dict) or not isinstance(given, dict):
        return float(_same(reference, given))
    names = reference.keys() | given.keys()
    right = sum(
        name in reference and name in given and _same(reference[name], given[name])
        for name in names
    )
    return right / len(names) if names else 1.0


def _same(a: Any, b: Any) -> bool:
    """Whether two JSON values agree; true is not 1, and 5 is 5.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
