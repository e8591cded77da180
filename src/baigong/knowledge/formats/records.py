"""JSON and JSON lines: a record for each object, with its keys beside its values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from baigong.knowledge.formats.document import Document, File, Unreadable, clean, heading
from baigong.knowledge.formats.encoding import decode

_TITLES = ("title", "name", "question", "subject", "heading", "标题", "问题")
_TEXTS = ("text", "content", "body", "answer", "description", "正文", "内容", "答案")


def read(file: File) -> Document:
    """Objects of a list, or of the lines, one after the other."""
    text = clean(decode(file.data))
    try:
        value = json.loads(text)
        values = value if isinstance(value, list) else [value]
    except json.JSONDecodeError as error:
        if error.pos == 0 or "\n" not in text.strip():
            raise Unreadable(f"is not JSON: {error}.") from error
        values = list(_lines(text))
    parts = [record(value) for value in values]
    return Document(file.path, file.stem, clean("\n\n".join(filter(None, parts))), is_markdown=True)


def _lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise Unreadable(f"is not JSON in line {number}: {error.msg}.") from error


def record(value: Any) -> str:
    """A section where an object has a title and a text, else a line for each of its keys."""
    if not isinstance(value, Mapping):
        return "\n".join(_facts("", value))
    title = _key(value, _TITLES)
    text = _key(value, _TEXTS)
    if title is None or text is None:
        return "\n".join(_facts("", value))
    rest = {key: fact for key, fact in value.items() if key not in (title, text)}
    parts = [heading(2, value[title]), value[text].strip(), "\n".join(_facts("", rest))]
    return "\n\n".join(part for part in parts if part)


def _key(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of these names, in any case, that stands beside words."""
    keys = {key.lower(): key for key in value}
    found = (keys[name] for name in names if name in keys)
    return next((k for k in found if isinstance(value[k], str) and value[k].strip()), None)


def _facts(path: str, value: Any) -> Iterator[str]:
    """`key: value` of everything below `value`, with the path of keys that leads to it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _facts(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list):
        if all(isinstance(inner, str | int | float | None) for inner in value):
            yield from _facts(path, ", ".join(str(inner) for inner in value if inner is not None))
        else:
            for number, inner in enumerate(value, start=1):
                yield from _facts(f"{path}.{number}" if path else str(number), inner)
    elif value is not None and value != "":
        words = value if isinstance(value, str) else json.dumps(value)
        yield f"{path}: {words.strip()}" if path else words.strip()
