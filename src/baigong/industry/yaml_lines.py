"""YAML as plain data that remembers its lines; every mistake comes back as a problem, none hangs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from baigong.errors import DataProblems, Problem

Loc = tuple[str | int, ...]

# A recipe has a hundred values. The limits keep a hostile file below about two seconds of parsing.
MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000
MAX_DEPTH = 32

_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float")}
# A date in a recipe is a word like any other: JSON, in which recipes travel, has no dates.
_TEXT = {f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp")}
# Lone surrogates cannot be written as UTF-8; the other two are what the chat template marks turns with.
UNUSABLE = re.compile("[\ud800-\udfff\ue0f0\ue0f1]")
_VARIABLE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(slots=True)
class Document:
    """A YAML mapping as plain data, where each of its values was written, and what is wrong with it."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Loc, tuple[str, int | None]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where(self, loc: Loc) -> tuple[str, int | None]:
        """File and line of a value, or of the nearest thing around it that was written down."""
        for end in range(len(loc), 0, -1):
            if loc[:end] in self.places:
                return self.places[loc[:end]]
        return self.file, 1

    def problem(self, loc: Loc, message: str) -> None:
        """Adds a mistake at a value."""
        file, line = self.where(loc)
        self.problems.append(Problem(file, line, dotted(loc), message))

    def is_override(self, loc: Loc) -> bool:
        """Whether the value came from the command line rather than from the file."""
        return self.where(loc)[0] != self.file

    def get(self, *loc: str) -> Any:
        """The value at a path, or None where there is none."""
        value: Any = self.data
        for part in loc:
            if not isinstance(value, dict):
                return None
            value = value.get(part)
        return value

    def put(self, loc: Loc, value: Any) -> None:
        """Replaces a value that exists."""
        parent: Any = self.data
        for part in loc[:-1]:
            parent = parent[part]
        parent[loc[-1]] = value


def dotted(loc: Loc) -> str:
    """A path as a person writes it: `data.split.test`."""
    return ".".join(str(part) for part in loc)


def read_yaml(path: Path) -> Document:
    """Reads a YAML mapping.

    Raises:
        DataProblems: it cannot be read at all: missing, too big, not UTF-8, or a syntax error (with its line).
    """
    file = str(path)
    text = _text(path, file)
    try:
        _guard(text, file)
        # One loader per pass: ruamel's keep state between calls.
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else int(mark.line) + 1
        raise _fatal(file, line, f"not valid YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise _fatal(file, None, f"not valid YAML: {str(error).splitlines()[0]}") from error
    document = Document(file)
    if not isinstance(node, MappingNode):
        raise _fatal(
            file, 1, "a recipe is a mapping such as `name: my-model`; this file holds none"
        )
    _Builder(document).mapping(node, ())
    return document


def _fatal(file: str, line: int | None, message: str) -> DataProblems:
    return DataProblems([Problem(file, line, "", message)])


def _text(path: Path, file: str) -> str:
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise _fatal(file, None, f"cannot be read: {error.strerror}") from error
    if raw is None:
        raise _fatal(file, None, f"too big for a recipe; allowed up to {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _fatal(file, line, "not UTF-8; save the file as UTF-8") from error


def _guard(text: str, file: str) -> None:
    """Walks the events, which need no recursion, before anything is built from them."""
    depth = values = 0
    anchors: set[str] = set()
    for event in YAML(typ="safe", pure=True).parse(text):
        line = int(event.start_mark.line) + 1
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if isinstance(event, NodeEvent) and event.anchor and not isinstance(event, AliasEvent):
            if event.anchor in anchors:
                raise _fatal(file, line, f"the anchor &{event.anchor} is defined twice")
            anchors.add(event.anchor)
        values += 1
        if depth > MAX_DEPTH:
            raise _fatal(file, line, f"nested too deeply; allowed {MAX_DEPTH} levels")
        if values > 2 * MAX_VALUES:
            raise _fatal(file, line, f"too many values; allowed {MAX_VALUES}")


class _Builder:
    """Turns nodes into data. An alias is copied, and what it copies counts against MAX_VALUES."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.open: set[int] = set()
        self.values = 0

    def mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {} if loc else self.document.data
        first: dict[str, int] = {}
        for key, value in node.value:
            line = int(key.start_mark.line) + 1
            if not isinstance(key, ScalarNode):
                self._bad(loc, line, "a key is a plain word, not a list or a mapping")
                continue
            name = str(key.value)
            if name in first:
                message = f"written twice; the first is on line {first[name]}"
                self._bad((*loc, name), line, message)
                continue
            first[name] = line
            self.document.places[*loc, name] = (self.document.file, line)
            result[name] = self.value(value, (*loc, name))
        return result

    def value(self, node: Node, loc: Loc) -> Any:
        self.values += 1
        line = int(node.start_mark.line) + 1
        if self.values > MAX_VALUES:
            raise _fatal(
                self.document.file, line, f"aliases unfold to more than {MAX_VALUES} values"
            )
        if isinstance(node, ScalarNode):
            return self.scalar(node, loc, line)
        if id(node) in self.open:
            raise _fatal(self.document.file, line, "an alias refers to what it is part of")
        self.open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self.mapping(node, loc)
            assert isinstance(node, SequenceNode)
            return [self.item(child, (*loc, i)) for i, child in enumerate(node.value)]
        finally:
            self.open.discard(id(node))

    def item(self, node: Node, loc: Loc) -> Any:
        self.document.places[loc] = (self.document.file, int(node.start_mark.line) + 1)
        return self.value(node, loc)

    def scalar(self, node: ScalarNode, loc: Loc, line: int) -> Any:
        tag = str(node.tag)
        if tag in _PLAIN:
            try:
                return self.constructor.construct_object(node)
            except ValueError:
                self._bad(loc, line, f"got {node.value}; not a number")
                return None
        if tag not in _TEXT:
            self._bad(loc, line, f"got the tag {tag}; allowed no tags")
        return str(node.value)

    def _bad(self, loc: Loc, line: int, message: str) -> None:
        self.document.problems.append(Problem(self.document.file, line, dotted(loc), message))


def apply_overrides(document: Document, overrides: Mapping[str, str]) -> None:
    """Fills `${name}` and sets dotted keys, as `--set name=value` on the command line asks.

    A key that the file mentions as `${key}` is a variable; any other is a path such as `data.rows`.
    `$${name}` is a literal `${name}`.
    """
    used: set[str] = set()
    for loc, text in list(_strings(document.data, ())):
        filled = _fill(document, loc, text, overrides, used)
        if filled != text:
            document.put(loc, filled)
    for key, text in overrides.items():
        if key not in used:
            _set(document, key, text)


def refuse_unusable_text(document: Document) -> None:
    """Notes texts that no file and no model can be given, and puts something harmless in their place."""
    for loc, text in list(_strings(document.data, ())):
        if UNUSABLE.search(text):
            document.problem(loc, "holds half a character or a reserved one (U+E0F0, U+E0F1)")
            document.put(loc, UNUSABLE.sub("?", text))


def _strings(value: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, str):
        yield loc, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _strings(child, (*loc, key))
    elif isinstance(value, list):
        for i, child in enumerate(value):
            yield from _strings(child, (*loc, i))


def _fill(
    document: Document, loc: Loc, text: str, overrides: Mapping[str, str], used: set[str]
) -> str:
    def replace(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in overrides:
            document.problem(loc, f"got ${{{name}}}; give it a value with --set {name}=VALUE")
            return match[0]
        used.add(name)
        return overrides[name]

    return _VARIABLE.sub(replace, text)


def _set(document: Document, key: str, text: str) -> None:
    loc: Loc = tuple(key.split("."))
    place = (f"--set {key}", None)
    if not all(loc):
        document.problems.append(Problem(*place, "", "a key is like data.rows"))
        return
    parent: Any = document.data
    for depth, part in enumerate(loc[:-1], start=1):
        if parent.get(part) is None:
            parent[part] = {}
            document.places[loc[:depth]] = place
        parent = parent[part]
        if not isinstance(parent, dict):
            message = f"{dotted(loc[:depth])} holds no fields"
            document.problems.append(Problem(*place, "", message))
            return
    parent[str(loc[-1])] = _parse(document, place, text)
    for known in [known for known in document.places if known[: len(loc)] == loc]:
        del document.places[known]
    document.places[loc] = place


def _parse(document: Document, place: tuple[str, int | None], text: str) -> Any:
    """`null`, a list or a mapping are YAML; anything else is the text itself, which the model converts."""
    if text in {"null", "~", ""}:
        return None
    if text[0] not in "[{":
        return text
    try:
        _guard(text, place[0])
        node = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        problem = str(getattr(error, "problem", None) or error)
        document.problems.append(Problem(*place, "", f"not valid YAML: {problem}"))
        return None
    scratch = Document(place[0])
    value = _Builder(scratch).value(node, ("value",))
    document.problems.extend(scratch.problems)
    return value
