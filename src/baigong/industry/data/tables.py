"""Files of rows as they lie on disk: JSONL, JSON, CSV, TSV, any of them gzipped, Parquet, spreadsheets,
or a folder of those.

Reading never guesses silently: every oddity is a problem with a line, or a warning in the report.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

from baigong.errors import Problem
from baigong.industry.recipe import visible_files

# Rows are held in memory; a file that unpacks to more than this is a mistake or an attack.
MAX_BYTES = 2 * 1024**3

TEXTS = (".txt", ".md")
_PIECE = 4000  # characters of a piece of plain text, about
_LINES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
_JSON = (".json", ".json.gz")
_SHEETS = (".xlsx", ".xls", ".ods")
SUFFIXES = (*_LINES, ".parquet", *_JSON, *_SHEETS)


@dataclass(frozen=True, slots=True)
class Record:
    """One row as written. `line` is 1-based: where the row begins; in Parquet, its number; in a sheet, its row."""

    line: int
    values: dict[str, Any]


@dataclass(slots=True)
class Table:
    """One file of rows. `name` is its path below what the recipe names, `file` how problems call it."""

    file: str
    name: str
    records: list[Record] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def bad(self, line: int | None, message: str, column: str = "") -> None:
        """Adds a mistake."""
        self.problems.append(Problem(self.file, line, column, message))

    def add(self, line: int, values: dict[str, Any]) -> None:
        """Adds a row."""
        self.columns.update(dict.fromkeys(values))
        self.records.append(Record(line, values))


def read_tables(
    path: Path, *, max_bytes: int = MAX_BYTES, suffixes: tuple[str, ...] = SUFFIXES
) -> list[Table]:
    """Reads a file, or all files of a folder that are tables; what is wrong is in their `problems`.

    With `TEXTS` among the suffixes plain text is read too, in pieces of whole paragraphs.
    """
    if not path.is_dir():
        return [_read(path, path.name, max_bytes, suffixes)]
    files = row_files(path, suffixes)
    if not files:
        empty = Table(str(path), path.name)
        empty.bad(None, f"no file of rows in this folder; allowed {', '.join(suffixes)}")
        return [empty]
    return [_read(file, file.relative_to(path).as_posix(), max_bytes, suffixes) for file in files]


def row_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files of rows in a folder. JSON counts only where there is nothing else: beside rows, it is
    what describes them."""
    files = [file for file in visible_files(folder) if file.name.lower().endswith(suffixes)]
    return [file for file in files if not file.name.lower().endswith(_JSON)] or files


def _read(path: Path, name: str, max_bytes: int, suffixes: tuple[str, ...]) -> Table:
    table = Table(str(path), name)
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if not path.name.lower().endswith(suffixes):
        table.bad(None, f"not a file of rows; allowed {', '.join(suffixes)}")
    elif kind == "parquet":
        _parquet(table, path)
    elif path.name.lower().endswith(_SHEETS):
        _sheets(table, path)
    else:
        text = _text(table, path, max_bytes)
        if text is not None:
            _PARSERS[kind](table, text)
    if not table.records and not table.problems:
        table.bad(None, "holds no rows")
    return table


# --- bytes to text -------------------------------------------------------------------------------


def _text(table: Table, path: Path, max_bytes: int) -> str | None:
    is_packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            raw = stream.read(max_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        table.bad(None, f"not a whole gzip file: {error}")
        return None
    except OSError as error:
        table.bad(None, f"cannot be read: {error.strerror or error}")
        return None
    if len(raw) > max_bytes:
        table.bad(None, f"holds more than {max_bytes / 1024**3:.2g} GiB; split it into files")
        return None
    return _decode(table, raw)


_MAGIC = {
    b"PK\x03\x04": "a zip or Excel file",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def _decode(table: Table, raw: bytes) -> str | None:
    for magic, what in _MAGIC.items():
        if raw.startswith(magic):
            table.bad(None, f"its name says text, but this is {what}; export it as CSV or JSONL")
            return None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        table.bad(None, "is UTF-16; save it as UTF-8")
        return None
    line = raw.count(b"\n", 0, raw.find(b"\0")) + 1
    if b"\0" in raw:
        table.bad(line, "holds a NUL byte: not a text file, or damaged")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _decode_chinese(table, raw, error)


def _decode_chinese(table: Table, raw: bytes, error: UnicodeDecodeError) -> str | None:
    """GB18030 is what Chinese Excel writes; almost any bytes pass for it, hence the warning."""
    line = raw.count(b"\n", 0, error.start) + 1
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        table.bad(line, "neither UTF-8 nor GB18030; save it as UTF-8")
        return None
    table.warnings.append(
        f"{table.name}: not UTF-8 (line {line}), read as GB18030; look whether its text is right"
    )
    return text


# --- text to records -----------------------------------------------------------------------------


def _jsonl(table: Table, text: str) -> None:
    # Only "\n" ends a line: U+2028 and its like are legal inside JSON strings.
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            value = json.loads(written)
        except json.JSONDecodeError as error:
            table.bad(line, f"not JSON: {error.msg} at column {error.colno}")
        except (RecursionError, ValueError) as error:
            table.bad(line, f"not JSON that can be read: {str(error)[:100]}")
        else:
            if isinstance(value, dict):
                table.add(line, value)
            else:
                table.bad(line, f"a row is an object such as {{...}}; got {written.strip()[:40]}")


def _json(table: Table, text: str) -> None:
    """An array of rows, each with the line where it begins. Lines of rows are often named so, too."""
    start = len(text) - len(text.lstrip())
    if not text.startswith("[", start):
        _object(table, text)
        return
    decoder, line, counted, at = json.JSONDecoder(), 1, 0, start + 1
    try:
        json.loads(text)
        while (found := _BETWEEN.match(text, at)) and not text.startswith("]", found.end()):
            value, at = decoder.raw_decode(text, found.end())
            line += text.count("\n", counted, found.end())
            counted = found.end()
            if isinstance(value, dict):
                table.add(line, value)
            else:
                table.bad(line, f"a row is an object such as {{...}}; got {str(value)[:40]}")
    except json.JSONDecodeError as error:
        table.bad(error.lineno, f"not JSON: {error.msg} at column {error.colno}")
    except (RecursionError, ValueError) as error:
        table.bad(None, f"not JSON that can be read: {str(error)[:100]}")


_BETWEEN = re.compile(r"[\s,]*")


def _object(table: Table, text: str) -> None:
    """One row, or lines of rows. An array that is wrapped in an object is not guessed at."""
    try:
        value = json.loads(text)
    except (RecursionError, ValueError):
        _jsonl(table, text)
        return
    held = value.get("data") if isinstance(value, dict) else None
    if isinstance(held, list):
        table.bad(
            1,
            "an array of rows is expected, and this is an object with one in 'data'; save that array",
        )
    else:
        _jsonl(table, json.dumps(value))


def _csv(table: Table, text: str) -> None:
    # strict: an unclosed quote must be an error, or it would swallow the rest of the file as one field.
    header = text.partition("\n")[0]
    # Where the comma is the decimal point, spreadsheets part cells by semicolons; others call TSV so.
    mark = max(",;\t|", key=header.count)
    csv.field_size_limit(MAX_BYTES)  # a cell may be a whole document
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    _delimited(table, _csv_lines(table, reader))


def _csv_lines(table: Table, reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = int(reader.line_num) + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            table.bad(line, f"not CSV: {error}; reading stopped here")
            return
        if cells is None:
            return
        if cells:
            yield line, cells


def _tsv(table: Table, text: str) -> None:
    lines = enumerate(text.split("\n"), start=1)
    cells = ((line, written.removesuffix("\r").split("\t")) for line, written in lines if written)
    _delimited(table, ((line, [_unquote(cell) for cell in row]) for line, row in cells))


def _unquote(cell: str) -> str:
    """Spreadsheets quote cells in TSV too; a lone quotation mark inside a text is just that."""
    if len(cell) >= 2 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _delimited(table: Table, lines: Iterator[tuple[int, list[str]]]) -> None:
    line, header = next(lines, (1, []))
    names = [name.strip() for name in header]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        table.bad(line, f"the header names {', '.join(repr(name) for name in twice)} twice")
        return
    table.columns.update(dict.fromkeys(names))
    for line, cells in lines:
        if len(cells) == len(names):
            table.add(line, dict(zip(names, cells, strict=True)))
        elif any(cells):
            table.bad(line, f"{len(cells)} cells, and the header has {len(names)}")


def _plain(table: Table, text: str) -> None:
    """Pieces of whole paragraphs, of about one length, in the column `text`."""
    table.columns["text"] = None
    piece: list[str] = []
    begin, size = 1, 0
    for line, written in enumerate(text.splitlines(), start=1):
        if not written.strip() and size >= _PIECE:
            table.add(begin, {"text": "\n".join(piece).strip()})
            piece, size = [], 0
        if not piece:
            begin = line
        piece.append(written)
        size += len(written)
    if rest := "\n".join(piece).strip():
        table.add(begin, {"text": rest})


_PARSERS: dict[str, Callable[[Table, str], None]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "txt": _plain,
    "md": _plain,
}


def _sheets(table: Table, path: Path) -> None:
    """The first sheet that holds anything, its first row being the header."""
    try:
        with CalamineWorkbook.from_path(path) as book:
            filled = {
                name: rows
                for name in book.sheet_names
                if (rows := book.get_sheet_by_name(name).to_python(skip_empty_area=False))
            }
    except (CalamineError, OSError) as error:
        table.bad(None, f"not a whole spreadsheet: {str(error)[:200]}")
        return
    if not filled:
        return
    first, rows = next(iter(filled.items()))
    if len(filled) > 1:
        others = ", ".join(list(filled)[1:])
        table.warnings.append(f"{table.name}: only the sheet {first!r} was read, not {others}")
    width = max((at for at, name in enumerate(rows[0], start=1) if name != ""), default=0)
    cells = ([_written(value) for value in row[:width]] for row in rows)
    _delimited(table, iter(list(enumerate(cells, start=1))))


def _written(value: Any) -> str:
    """A cell as a person would type it: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _parquet(table: Table, path: Path) -> None:
    # 0.3 s to import, and most recipes have no Parquet.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            table.columns.update(dict.fromkeys(file.schema_arrow.names))
            row = 0
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    row += 1
                    table.add(row, values)
    except (pa.ArrowException, OSError, ValueError) as error:
        table.bad(None, f"not a whole Parquet file: {str(error).splitlines()[0][:200]}")
