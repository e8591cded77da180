"""From a file of rows alone to a recipe: the task and its columns worked out, and why, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baigong.errors import DataProblems, InvalidInput, NotFound
from baigong.evals.metrics import Task
from baigong.evals.text import language_of
from baigong.industry.data.formats import format_of
from baigong.industry.data.tables import Record, Table, read_tables
from baigong.industry.recipe import DATASET_PREFIX, Recipe, recipe_of_document
from baigong.industry.recipe_checks import TASK_FIELDS
from baigong.industry.yaml_lines import Document

_PLACE = "baigong tune"  # where a mistake is, when no file was written

# What columns are usually called; compared without case, blanks, `_` and `-`. The first that is there counts.
_ASKED = (
    *("text", "prompt", "question", "query", "instruction", "input", "message", "utterance"),
    *(
        "sentence",
        "content",
        "user",
        "ask",
        "文本",
        "问题",
        "问",
        "提问",
        "内容",
        "句子",
        "留言",
        "输入",
    ),
)
_LABELS = (
    *("label", "category", "class", "intent", "tag", "topic", "route"),
    *("标签", "类别", "分类", "意图", "科室"),
)
_ANSWERS = (
    *("answer", "response", "reply", "completion", "output", "assistant", "target"),
    *("回答", "答", "答案", "回复", "答复", "输出"),
)
# Answers that are so few, so short and so often repeated are classes by another name.
_MOST_CLASSES, _LEAST_EACH, _LONGEST_CLASS = 100, 5, 64
# The test share is raised where there are few rows, so that about so many are left to prove by.
_TEST_ROWS, _TEST_SHARE, _MOST_TEST_SHARE = 30, 0.2, 0.5
_LANGUAGE_SHARE = 0.1  # from which on a second language is judged apart
_READ = 5000  # rows looked at to work things out


@dataclass(frozen=True, slots=True)
class Tuned:
    """A recipe that was worked out. `reasons` are sentences for whoever did not write it."""

    recipe: Recipe
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Guess:
    task: Task
    columns: dict[str, str] = field(default_factory=dict)
    why: str = ""


def recipe_of(
    rows: str | Path,
    base: str = "sapling",
    name: str = "",
    spec: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
    columns: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Tuned:
    """The recipe of a file of rows.

    Args:
        rows: a file or folder of rows.
        base: a model in the hub.
        name: what applications call; the file's own name if empty.
        spec: fields of the recipe's `tune` section.
        task: said and not worked out.
        columns: field of the task -> column of the file, where they are not to be worked out.
        overrides: dotted fields of the recipe -> value, as `--set` has them.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the columns do not tell the task; the hint says how to say it.
        DataProblems: the file cannot be read, or the recipe has mistakes.
    """
    path = Path(rows).expanduser()
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise NotFound.among("file of rows", str(rows), beside, param="rows")
    tables = read_tables(path)
    if problems := [problem for table in tables for problem in table.problems]:
        raise DataProblems(problems, hint="Mend these lines and run the same command again.")
    records = [record for table in tables for record in table.records][:_READ]
    total = sum(len(table.records) for table in tables)
    guess = _work_out(_columns(tables), records, task, dict(columns or {}))
    reasons = [guess.why]
    data: dict[str, Any] = {"rows": str(path), "columns": guess.columns}
    if total * _TEST_SHARE < _TEST_ROWS:
        share = min(_MOST_TEST_SHARE, round(_TEST_ROWS / max(total, 1), 2))
        data["split"] = {"test": share}
        reasons.append(f"{100 * share:.0f} % of the rows are kept for testing, for there are few")
    if reason := _language_reason(guess, records):
        data["slices"] = ["language"]
        reasons.append(reason)
    written = {
        "name": name or name_of(path),
        "base": base,
        "task": guess.task,
        "data": data,
        "tune": dict(spec or {}),
    }
    return Tuned(recipe_from(written, _PLACE, overrides or {}), tuple(reasons))


def recipe_from(
    written: dict[str, Any], place: str, overrides: Mapping[str, str] | None = None
) -> Recipe:
    """A recipe that nobody wrote as a file, checked as one; `place` is where its mistakes are said to be.

    Without `overrides` a `${name}` in it is text like any other.

    Raises:
        DataProblems: it has mistakes.
    """
    document = Document(place, written, {(key,): (place, None) for key in written})
    return recipe_of_document(document, Path.cwd(), overrides)


def name_of(path: Path) -> str:
    """A name for applications from a file's: small letters, digits and `-`."""
    stem = path.name.removeprefix(DATASET_PREFIX).partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:64].strip("-") or "tuned"


def _columns(tables: Iterable[Table]) -> list[str]:
    return list(dict.fromkeys(column for table in tables for column in table.columns))


def _work_out(
    columns: Sequence[str], records: Sequence[Record], task: Task | None, mapped: dict[str, str]
) -> _Guess:
    for name, column in mapped.items():
        if column not in columns:
            raise InvalidInput(
                f"--column {name}={column}: the file has no such column.",
                hint=f"It has {', '.join(columns)}.",
                param=f"columns.{name}",
            )
    if task is not None:
        return _Guess(task, _completed(task, columns, mapped), f"{task}, as you say")
    if mapped:
        return _of_fields(columns, mapped)
    return _of_columns(columns, records)


def _of_fields(columns: Sequence[str], mapped: dict[str, str]) -> _Guess:
    """The task that has the fields which were mapped."""
    chosen: tuple[Task, ...] = ("classification", "chat", "preference")
    for task in chosen:
        if mapped.keys() <= set(TASK_FIELDS.get(task, ())):
            named = " and ".join(mapped)
            return _Guess(
                task, _completed(task, columns, mapped), f"{task}, for you name its {named}"
            )
    known = "; ".join(
        f"{task}: {', '.join(TASK_FIELDS[task])}" for task in chosen if task in TASK_FIELDS
    )
    raise InvalidInput(
        f"No task has the fields {', '.join(mapped)}.",
        hint=f"Fields by task: {known}.",
        param="columns",
    )


def _completed(task: Task, columns: Sequence[str], mapped: dict[str, str]) -> dict[str, str]:
    """The mapping with what usual names add to it."""
    usual = {"text": _ASKED, "prompt": _ASKED, "label": _LABELS, "answer": _ANSWERS}
    found = dict(mapped)
    if task not in {"chat", "classification"} or "messages" in {*mapped, *columns}:
        return found
    if not mapped and format_of(columns) is not None:
        return found
    for name in ("text", "label") if task == "classification" else ("prompt", "answer"):
        left = [column for column in columns if column not in found.values()]
        near = _first(left, usual[name]) or _first(left, _ANSWERS + _LABELS)
        if name not in found and name not in columns and near is not None:
            found[name] = near
    return found


def _of_columns(columns: Sequence[str], records: Sequence[Record]) -> _Guess:
    there = set(columns)
    for pair in ({"chosen", "rejected"}, {"preferred_output", "non_preferred_output"}):
        if pair <= there and "preference" in TASK_FIELDS:
            task: Task = "preference"
            return _Guess(task, {}, f"preference, for the file has {' and '.join(sorted(pair))}")
    if "messages" in there:
        return _Guess("chat", {}, "chat, for the column messages holds conversations")
    if (format := format_of(columns)) is not None:
        shown = ", ".join(sorted(format.columns))
        return _Guess("chat", {}, f"chat, for its columns are those of {format.name} ({shown})")
    asked = _first(columns, _ASKED)
    others = [column for column in columns if column != asked]
    label, answer = _first(others, _LABELS), _first(others, _ANSWERS)
    if asked is not None and label is not None and (answer is None or label == "label"):
        return _classes(asked, label, "")
    if asked is not None and answer is not None:
        if said := _few(answer, records):
            return _classes(asked, answer, said)
        mapped = _renamed(prompt=asked, answer=answer)
        return _Guess(
            "chat", mapped, f"chat, with {asked!r} as what is asked and {answer!r} as the answer"
        )
    if asked is not None and len(columns) == 1:
        why = f"text, for {asked!r} is the only column: nothing is asked, and all of it is learnt"
        return _Guess("text", _renamed(text=asked), why)
    raise InvalidInput(
        f"The columns {', '.join(columns) or '(none)'} do not say what is asked and what is answered.",
        hint="Name them: --column text=COLUMN --column label=COLUMN where answers are classes, or"
        " --column prompt=COLUMN --column answer=COLUMN where they are free text. A file whose first"
        " line is a row already needs a line of names above it.",
        param="columns",
    )


def _classes(asked: str, label: str, why: str) -> _Guess:
    said = f"classification, with {asked!r} as the text and {label!r} as its label{why}"
    return _Guess("classification", _renamed(text=asked, label=label), said)


def _renamed(**fields: str) -> dict[str, str]:
    """Only what is called otherwise in the file has to be said."""
    return {name: column for name, column in fields.items() if name != column}


def _few(column: str, records: Sequence[Record]) -> str:
    """Why answers look like classes, or nothing."""
    count = Counter(str(record.values.get(column) or "").strip() for record in records)
    longest = max(map(len, count), default=0)
    if not 2 <= len(count) <= _MOST_CLASSES or longest > _LONGEST_CLASS:
        return ""
    if len(records) < _LEAST_EACH * len(count):
        return ""
    return f", for its {len(count)} short values repeat ({len(records)} rows)"


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    plain = {re.sub(r"[\s_-]", "", column).casefold(): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


def _language_reason(guess: _Guess, records: Sequence[Record]) -> str:
    """Why both languages are judged apart, if there are two."""
    texts = (
        " ".join(str(value) for value in record.values.values() if isinstance(value, str))
        for record in records
    )
    count = Counter(language_of(text) for text in texts)
    if min(count["en"], count["zh"]) < _LANGUAGE_SHARE * len(records) or not records:
        return ""
    return f"both languages are shown apart ({count['en']} rows en, {count['zh']} zh)"
