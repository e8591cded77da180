"""Cards: the front matter of README.md, and what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from io import StringIO
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from baigong.errors import InvalidInput
from baigong.hub.names import Kind, check_name
from baigong.model.terms import LICENSES, TASKS

_FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST = 1 << 18  # characters of front matter
_MOST_VALUES = 20_000
_DEEPEST = 32
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|code|multilingual")


class Verdict(msgspec.Struct, frozen=True):
    """What is wrong with a card: `errors` refuse it, `warnings` do not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _Unreadable(Exception):
    """Front matter that is not YAML, or too much of it."""


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """A card's YAML, empty where it has none or is broken, and the text below it."""
    try:
        return _read(text)
    except _Unreadable:
        return {}, text


def validate(text: str, kind: Kind) -> Verdict:
    """Look a card over, as Hugging Face does before a commit."""
    try:
        card, _ = _read(text)
    except _Unreadable as error:
        return Verdict((str(error),))
    if not card:
        return Verdict(warnings=("empty or missing yaml metadata in repo card",))
    there = {name: value for name, value in card.items() if value is not None}
    checks = [(check, there[name]) for name, check in _CHECKS.items() if name in there]
    errors = [said for check, value in checks for said in check(value)]
    errors += [_must_be(name, "a string") for name in _WORDS if not _is_word(card.get(name))]
    if kind != "model":
        return Verdict(tuple(errors))
    task = card.get("pipeline_tag")
    known = not isinstance(task, str) or task in TASKS
    return Verdict(tuple(errors), () if known else (_unknown_task(str(task)),))


def strings(found: Any) -> list[str]:
    """What a card gives as one word or as a list."""
    return [str(each) for each in (found if isinstance(found, list) else [found]) if each]


def whole(text: str) -> str:
    """A text without what no database keeps: halves of characters, as escapes can make them, and
    NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _read(text: str) -> tuple[dict[str, Any], str]:
    match = _FRONT.match(text)
    if match is None:
        return {}, text
    if len(match[1]) > _LONGEST:
        raise _Unreadable(f"The metadata is longer than {_LONGEST} characters")
    try:
        # The reader in Python, not the one in C: depth ends it with an error, not with a crash.
        found = YAML(typ="safe", pure=True).load(StringIO(match[1]))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 0
        raise _Unreadable(f"Invalid YAML in line {line}: {error.problem}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise _Unreadable(f"Invalid YAML: {str(error)[:200]}") from error
    if found is None:
        return {}, text[match.end() :].lstrip("\r\n")
    if not isinstance(found, dict):
        raise _Unreadable("The metadata must be an object")
    plain = _Plain().of(found)
    return plain, text[match.end() :].lstrip("\r\n")


class _Plain:
    """Makes JSON of what YAML gave. An alias may stand for a whole tree, or for itself: so it counts."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise _Unreadable(
                f"The metadata has more than {_MOST_VALUES} values, or is deeper than {_DEEPEST}"
            )
        if isinstance(value, dict):
            return {
                whole(str(self.of(key, depth + 1))): self.of(each, depth + 1)
                for key, each in value.items()
            }
        if isinstance(value, (list, tuple, set)):
            return [self.of(each, depth + 1) for each in value]
        if isinstance(value, int):  # JSON is read with 64 bits
            return value if -(2**63) <= value < 2**63 else None
        if value is None or (isinstance(value, float) and math.isfinite(value)):
            return value
        return whole(str(value))


def _licenses(found: Any) -> list[str]:
    given = found if isinstance(found, list) else [found]
    if all(isinstance(each, str) and each in LICENSES for each in given):
        return []
    near = get_close_matches(str(found)[:80], LICENSES, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else " Write other, and a license_name."
    return [f'"license" must be one of [{", ".join(sorted(LICENSES))}].{hint}']


def _languages(found: Any) -> list[str]:
    given = found if isinstance(found, list) else [found]
    return [
        f'"language" must be ISO 639 codes in lower case, code or multilingual, not {_short(each)}'
        for each in given
        if not (isinstance(each, str) and _LANGUAGE.fullmatch(each))
    ]


def _bases(found: Any) -> list[str]:
    given = found if isinstance(found, list) else [found]
    return [
        f'"base_model" with value {_short(each)} is not valid. Use owner/name of a model'
        for each in given
        if not (isinstance(each, str) and _is_name(each))
    ]


def _is_name(name: str) -> bool:
    try:
        check_name(name if "/" in name else f"x/{name}")  # some have no owner, such as gpt2
    except InvalidInput:
        return False
    return True


def _list_of_words(name: str) -> Callable[[Any], list[str]]:
    def check(found: Any) -> list[str]:
        if not isinstance(found, list):
            return [_must_be(name, "an array")]
        return [
            _must_be(f"{name}[{at}]", "a string")
            for at, each in enumerate(found)
            if not isinstance(each, str)
        ]

    return check


def _words(name: str) -> Callable[[Any], list[str]]:
    check = _list_of_words(name)
    return lambda found: [] if isinstance(found, str) else check(found)


def _results(found: Any) -> list[str]:
    if not isinstance(found, list):
        return [_must_be("model-index", "an array")]
    odd = any(not isinstance(each, dict) for each in found)
    return [_must_be("model-index", "an array of objects")] if odd else []


def _unknown_task(task: str) -> str:
    near = get_close_matches(task[:80], TASKS, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return f"The pipeline tag {_short(task)} is not in the official list.{hint}"


def _must_be(name: str, what: str) -> str:
    return f'"{name}" must be {what}'


def _is_word(found: Any) -> bool:
    return found is None or isinstance(found, str)


def _short(found: Any) -> str:
    return f'"{str(found)[:80]}"'


_WORDS = ("pipeline_tag", "library_name", "license_name", "license_link", "pretty_name")
_CHECKS: dict[str, Callable[[Any], list[str]]] = {
    "license": _licenses,
    "language": _languages,
    "base_model": _bases,
    "model-index": _results,
    "tags": _list_of_words("tags"),
    **{name: _words(name) for name in ("datasets", "metrics", "task_categories")},
}
