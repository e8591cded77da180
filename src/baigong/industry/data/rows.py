"""From the files a recipe names to a frozen dataset: read, checked, deduplicated, split by content.

A row's split follows from a hash of its prompt alone: it is the same on every machine, for ever,
however many rows are added, and two rows with one prompt can never stand on both sides.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from baigong.errors import DataProblems, InvalidInput, Problem
from baigong.evals.stats import detectable_difference
from baigong.evals.text import fold, language_of, normalise
from baigong.industry.data.cells import Cells
from baigong.industry.data.formats import shape_table
from baigong.industry.data.look import look_at
from baigong.industry.data.report import DataReport, alike_labels, count_slices, percentiles
from baigong.industry.data.tables import SUFFIXES, TEXTS, Record, Table, read_tables, row_files
from baigong.industry.data.tasks import SHAPES, missing_columns
from baigong.industry.recipe import DATASET_PREFIX, Recipe, SplitSpec
from baigong.store.blobs import digest_file
from baigong.types import Message, Row, Split

# Up to this share of rows may be too long for the context and is left out; more is a mistake to mend.
MAX_OVERLONG = 0.05
MAX_SLICE_VALUES = 50
LABELLED = ("classification", "images")  # tasks whose answers are classes
_DIFFERING = {"regression": "value", "pairs": "positive"}  # of which one alone teaches nothing

CountTokens = Callable[[Sequence[Message]], int]

_SPLITS: tuple[Split, ...] = get_args(Split)


class Dataset(msgspec.Struct, frozen=True):
    """Rows with a frozen split. `digest` is sha256 over them, whatever their order."""

    rows: tuple[Row, ...]
    report: DataReport
    digest: str

    def split(self, name: Split) -> list[Row]:
        """The rows of one split, in the order of the files."""
        return [row for row in self.rows if row.split == name]

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers of a classification, sorted."""
        return tuple(sorted(self.report.labels))

    def write(self, folder: Path) -> None:
        """Writes one JSONL per split and report.json; each file appears whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _SPLITS:
            lines = [msgspec.json.encode(row) + b"\n" for row in self.split(name)]
            _put(folder / f"{name}.jsonl", b"".join(lines))
        report = {"digest": self.digest, "report": msgspec.to_builtins(self.report)}
        # Last, so that a folder with a report is a whole one.
        _put(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Dataset:
        """Reads what `write` wrote.

        Raises:
            OSError: a file is missing.
            DataProblems: the files are damaged or were changed.
        """
        try:
            saved = json.loads((folder / "report.json").read_bytes())
            rows = tuple(
                msgspec.json.decode(line, type=Row)
                for name in _SPLITS
                for line in (folder / f"{name}.jsonl").read_bytes().split(b"\n")
                if line
            )
            report = msgspec.convert(saved["report"], DataReport)
        except (ValueError, KeyError, msgspec.DecodeError) as error:
            raise DataProblems([Problem(str(folder), None, "", f"damaged: {error}")]) from error
        if digest_of(rows) != saved["digest"]:
            problem = Problem(
                str(folder), None, "", "its rows are not those its digest was made of"
            )
            raise DataProblems([problem], hint="Prepare the dataset again.")
        return cls(rows, report, saved["digest"])


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)


@dataclass(frozen=True, slots=True)
class _Item:
    """A row on its way: `key` decides its split, `prompt` finds contradictions, `line` is for reports."""

    row: Row
    key: str
    prompt: str
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def load_dataset(
    recipe: Recipe,
    *,
    count_tokens: CountTokens | None = None,
    context: int | None = None,
    locate: Callable[[str], Path] | None = None,
    lacking: list[Problem] | None = None,
) -> Dataset:
    """Reads, checks and splits the rows a recipe names.

    Exact duplicates are dropped. In tasks with one right answer (classification, extraction), a prompt
    with two answers is dropped altogether, because nothing says which is right; the lines are in the
    report. So are rows to learn from that are nearly a test row. With `count_tokens` (of a whole conversation) and `context`, rows too long for the model are
    dropped too, or refused where they are more than 5 %. `locate` gives the folder of a `dataset://`.
    `lacking` takes what only more rows can mend (too few to test, one label), instead of an error.

    Raises:
        DataProblems: with every mistake in every file, and its line.
    """
    loading = _Loading(recipe, locate)
    parts = {name: loading.read(name) for name in ("rows", "validation", "test")}
    loading.stop_if_bad()
    parts = {name: loading.clean(items) for name, items in parts.items()}
    loading.compare(parts)
    loading.stop_if_bad()
    items = _sample(parts["rows"], recipe.data.limit)
    rows = _divided(items, recipe.data.split)
    rows += [_in_split(item, "validation") for item in parts["validation"]]
    rows += [_in_split(item, "test") for item in parts["test"]]
    rows = loading.look(rows)
    lengths: list[int] = []
    if count_tokens is not None:
        rows, lengths, overlong = fit_context(rows, count_tokens, context)
        loading.overlong(overlong)
    loading.check(rows)
    if lacking is None:
        loading.stop_if_bad()
    else:
        lacking += loading.problems
    report = loading.report(rows, lengths)
    return Dataset(tuple(rows), report, digest_of(rows))


def split_of(key: str, spec: SplitSpec) -> Split:
    """The split of a prompt: its hash as a number in [0, 1) against the shares.

    Test comes first, so that changing the share of validation moves no row in or out of the test.
    """
    point = _point("split", key)
    test = spec.test if isinstance(spec.test, float) else 0.0
    validation = spec.validation if isinstance(spec.validation, float) else 0.0
    if point < test:
        return "test"
    # Validation is counted from the far end, so that a larger test share takes from training first.
    return "validation" if point >= 1 - validation else "train"


def _divided(items: Sequence[_Item], spec: SplitSpec) -> list[Row]:
    """Every row in its split. Where a share of a few rows leaves none to test, the nearest are taken."""
    splits = {item.key: split_of(item.key, spec) for item in items}
    if isinstance(spec.test, float) and len(splits) > 1 and "test" not in splits.values():
        splits[min(splits, key=lambda key: _point("split", key))] = "test"
    return [_in_split(item, splits[item.key]) for item in items]


def _point(purpose: str, key: str) -> float:
    """A number in [0, 1), uniform over keys and independent between purposes."""
    digest = hashlib.sha256(f"{purpose}\0{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _in_split(item: _Item, split: Split) -> Row:
    return msgspec.structs.replace(item.row, split=split)


def _sample(items: list[_Item], limit: int | None) -> list[_Item]:
    if limit is None or len(items) <= limit:
        return items
    order = sorted(items, key=lambda item: (_point("limit", item.key), item.row.id))
    chosen = {item.row.id for item in order[:limit]}
    return [item for item in items if item.row.id in chosen]


def sample_rows(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """At most so many rows, the same ones every time: those whose hashes come first, in their order."""
    if limit is None or len(rows) <= limit:
        return list(rows)
    chosen = {row.id for row in sorted(rows, key=lambda row: _point("sample", row.id))[:limit]}
    return [row for row in rows if row.id in chosen]


def fit_context(
    rows: Sequence[Row], count_tokens: CountTokens, context: int | None
) -> tuple[list[Row], list[int], list[tuple[Row, int]]]:
    """Rows that fit, the lengths of those, and the others with their lengths, all in tokens.

    Raises:
        DataProblems: more than MAX_OVERLONG of the rows do not fit, or the base's template refuses some.
    """
    counted, refused = [], []
    for row in rows:
        try:
            talks = ((*row.messages, Message("assistant", text)) for text in answers(row))
            counted.append((row, max(map(count_tokens, talks))))
        except InvalidInput as error:  # a template has rules of its own, e.g. who speaks after whom
            refused.append(Problem(row.source, None, "messages", error.message))
    if refused:
        raise DataProblems(refused, hint="Mend these rows, or choose a base that takes them.")
    if context is None:
        return list(rows), [length for _, length in counted], []
    overlong = [(row, length) for row, length in counted if length > context]
    if len(overlong) > MAX_OVERLONG * len(rows):
        problems = [
            Problem(row.source, None, "", f"{length} tokens; the model's context is {context}")
            for row, length in overlong
        ]
        raise DataProblems(problems, hint="Shorten these rows, or choose a base with more context.")
    fitting = [(row, length) for row, length in counted if length <= context]
    return [row for row, _ in fitting], [length for _, length in fitting], overlong


def answers(row: Row) -> tuple[str, ...]:
    """What a row would have the model say, and not say."""
    return (row.answer, row.rejected) if isinstance(row.rejected, str) else (row.answer,)


def digest_of(rows: Iterable[Row]) -> str:
    """sha256, in hex, of what rows train and test: their texts, splits and slices, in any order."""
    lines = sorted(
        msgspec.json.encode(msgspec.structs.replace(row, source=""), order="deterministic")
        for row in rows
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


class _Loading:
    """The files of one recipe on their way to a dataset: collects problems, warnings and counts."""

    def __init__(self, recipe: Recipe, locate: Callable[[str], Path] | None) -> None:
        self.recipe = recipe
        self.locate = locate
        self.shape = SHAPES[recipe.task]
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.files: dict[str, str] = {}
        self.suffixes = (*SUFFIXES, *TEXTS) if recipe.task == "text" else SUFFIXES
        self.near = 0
        self.private: dict[str, int] = {}

    def stop_if_bad(self) -> None:
        if self.problems:
            raise DataProblems(
                self.problems, hint="Mend these lines and run the same command again."
            )

    def bad(self, message: str, field: str = "") -> None:
        self.problems.append(Problem(self.recipe.data.rows, None, field, message))

    # --- reading

    def read(self, part: str) -> list[_Item]:
        """All rows of `data.rows`, or of the file that stands for a split; none if it is a share."""
        split = self.recipe.data.split
        named = {"rows": self.recipe.data.rows, "validation": split.validation, "test": split.test}
        written = named[part]
        if not isinstance(written, str):
            return []
        path = self._path(written)
        items = []
        for table in self._tables(path) if path else []:
            items += self._table(table)
            self.problems += table.problems
            self.warnings += table.warnings
        if path is not None and not self.problems:
            self._note_files(path)
        return items

    def _tables(self, path: Path) -> list[Table]:
        own = self.shape.read
        return read_tables(path, suffixes=self.suffixes) if own is None else own(path)

    def _path(self, written: str) -> Path | None:
        if not written.startswith(DATASET_PREFIX):
            return Path(written)
        if self.locate is None:
            self.problems.append(Problem(written, None, "", "there is no hub here to find it in"))
            return None
        return self.locate(written.removeprefix(DATASET_PREFIX))

    def _note_files(self, path: Path) -> None:
        if path.is_file():
            self.files[path.name] = digest_file(path)
            return
        for file in row_files(path, self.suffixes):
            self.files[file.relative_to(path).as_posix()] = digest_file(file)

    def _table(self, table: Table) -> list[_Item]:
        if not table.records:
            return []
        shape_table(table, self.recipe)
        missing = [*missing_columns(table, self.recipe), *self._missing_slices(table)]
        for column, message in missing:
            table.bad(None, message, column)
        if missing:
            return []
        items = (self._item(table, record) for record in table.records)
        return [item for item in items if item is not None]

    def _missing_slices(self, table: Table) -> list[tuple[str, str]]:
        there = ", ".join(table.columns)
        return [
            (column, f"no such column for data.slices; the file has {there}")
            for column in self.recipe.data.slices
            if column not in table.columns and column != "language"
        ]

    def _item(self, table: Table, record: Record) -> _Item | None:
        cells = Cells(table, record, self.recipe)
        draft = self.shape.convert(cells)
        if not cells.is_good:
            return None
        prompt = normalise(draft.prompt)
        content: list[str | bool] = [prompt, normalise(draft.answer), draft.document or ""]
        if isinstance(draft.rejected, str):
            content.append(normalise(draft.rejected))
        if isinstance(draft.is_good, bool):
            content.append(draft.is_good)
        identity = json.dumps(content, ensure_ascii=False).encode()
        row = Row(
            id=hashlib.sha256(identity).hexdigest()[:32],
            messages=draft.messages,
            answer=draft.answer,
            slices=self._slices(cells, draft.prompt),
            document=draft.document,
            source=f"{table.name}:{record.line}",
            rejected=draft.rejected,
            is_good=draft.is_good,
            unlearnt=draft.unlearnt or msgspec.UNSET,
        )
        return _Item(row, fold(draft.prompt), prompt, table.file, record.line)

    def _slices(self, cells: Cells, prompt: str) -> dict[str, str]:
        slices: dict[str, str] = {}
        for column in self.recipe.data.slices:
            value = cells.record.values.get(column)
            text = "" if value is None else str(value).strip()
            if column == "language" and not text:
                text = language_of(prompt)
            if text:
                slices[column] = text
        return slices

    # --- cleaning

    def clean(self, items: list[_Item]) -> list[_Item]:
        """Without exact duplicates, and without prompts that contradict themselves."""
        unique: dict[str, _Item] = {}
        for item in items:
            unique.setdefault(item.row.id, item)
        if len(unique) < len(items):
            self.dropped["duplicate"] += len(items) - len(unique)
        if not self.shape.has_one_answer:
            return list(unique.values())
        by_prompt: dict[str, list[_Item]] = defaultdict(list)
        for item in unique.values():
            by_prompt[item.prompt].append(item)
        conflicts = [group for group in by_prompt.values() if len(group) > 1]
        for group in conflicts:
            self.dropped["contradiction"] += len(group)
        self._warn("one text, several answers, all dropped", [_both(group) for group in conflicts])
        return [group[0] for group in by_prompt.values() if len(group) == 1]

    def _warn(self, what: str, places: Sequence[str], shown: int = 10) -> None:
        if places:
            more = f"; and {len(places) - shown} more" if len(places) > shown else ""
            self.warnings.append(f"{what}: {'; '.join(places[:shown])}{more}")

    def compare(self, parts: dict[str, list[_Item]]) -> None:
        """A row for testing that is also trained on would make the test worthless."""
        seen: dict[str, tuple[str, _Item]] = {}
        for part in ("rows", "validation", "test"):
            for item in parts[part]:
                other = seen.get(item.key)
                if other is not None and other[0] != part:
                    message = f"the {part} row is also in {other[1].place}; remove one of them"
                    self.problems.append(Problem(item.file, item.line, "", message))
                seen.setdefault(item.key, (part, item))

    def look(self, rows: list[Row]) -> list[Row]:
        """The rows without those that would give the test away; what else a person should know is noted."""
        if self.recipe.task == "images":  # there is no text to look at
            return rows
        found = look_at(rows, has_one_answer=self.shape.has_one_answer)
        for what, places in found.notes.items():
            self._warn(what, places)
        self.near, self.private = found.near, found.private
        if found.leaks:
            self.dropped["nearly a test row"] += len(found.leaks)
        return [row for place, row in enumerate(rows) if place not in found.leaks]

    def overlong(self, overlong: list[tuple[Row, int]]) -> None:
        if overlong:
            self.dropped["too long"] += len(overlong)
        self._warn(
            "too long for the context, dropped",
            [f"{row.source} ({length} tokens)" for row, length in overlong],
        )

    # --- checking the whole

    def check(self, rows: Sequence[Row]) -> None:
        """What only all rows together can get wrong."""
        count = Counter(row.split for row in rows)
        if not count["train"]:
            self.bad(f"none of {len(rows)} rows is left for training; add rows", "data.rows")
        least = self.recipe.gate.rows
        if count["test"] < least:
            share = self.recipe.data.split.test
            remedy = "" if isinstance(share, str) else f", or raise data.split.test from {share:g}"
            lost = "".join(f", after {n} dropped ({why})" for why, n in self.dropped.items())
            self.bad(
                f"{count['test']} of {len(rows)} rows{lost} are for testing, and a verdict needs"
                f" {least}; add rows{remedy}",
                "data.split.test",
            )
        if self.recipe.task in LABELLED:
            self._check_labels(rows)
        if (field := _DIFFERING.get(self.recipe.task)) is not None:
            self._check_differing(rows, field)
        verdicts = {row.is_good for row in rows if row.split == "train"}
        if len(verdicts) == 1 and isinstance(next(iter(verdicts)), bool):
            said = f"every row's verdict is {str(verdicts.pop()).lower()}"
            self.bad(f"{said}; kto learns from both: add rows of the other kind", "label")
        for column, values in count_slices(rows).items():
            if len(values) > MAX_SLICE_VALUES:
                self.warnings.append(
                    f"data.slices: {column} has {len(values)} values; too many to judge one by one"
                )

    def _check_labels(self, rows: Sequence[Row]) -> None:
        trained = {row.answer for row in rows if row.split == "train"}
        if len(trained) == 1:
            self.bad(f"every row has the label {trained.pop()!r}; two are the least", "label")
            return
        unseen = {row.answer for row in rows if row.split != "train"} - trained
        self._warn("labels that no training row has", sorted(unseen))
        alike = alike_labels(row.answer for row in rows)
        self._warn("labels that only case or spaces tell apart; are they one class?", alike)

    def _check_differing(self, rows: Sequence[Row], field: str) -> None:
        trained = {row.answer for row in rows if row.split == "train"}
        if len(trained) == 1:
            said = f"every row has the {field} {trained.pop()[:40]!r}"
            self.bad(f"{said}: there is nothing to tell apart; add rows with others", field)

    def report(self, rows: Sequence[Row], lengths: Sequence[int]) -> DataReport:
        """Counts of what is left and of what is not."""
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows if self.recipe.task in LABELLED else ():
            labels[row.answer][row.split] += 1
        count = Counter[str](row.split for row in rows)
        spoken = Counter(language_of(row.messages[-1].content) for row in rows)
        return DataReport(
            rows={name: count[name] for name in _SPLITS},
            labels={label: dict(by_split) for label, by_split in sorted(labels.items())},
            slices=count_slices(rows),
            dropped=dict(self.dropped),
            languages={name: round(n / len(rows), 4) for name, n in sorted(spoken.items())},
            tokens=percentiles(lengths),
            warnings=tuple(self.warnings),
            files=dict(sorted(self.files.items())),
            near=self.near,
            private=self.private,
            detectable=round(
                detectable_difference(count["test"], confidence=self.recipe.gate.confidence), 4
            ),
        )


def _both(group: Sequence[_Item]) -> str:
    return ", ".join(f"{item.row.source} {item.row.answer[:40]!r}" for item in group)
