"""Spreadsheets (.xlsx and its kin, .xls, .ods): sheets as headings, rows as tables."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import chain

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from baigong.knowledge.formats.archive import OLE, Archive, refuse_old
from baigong.knowledge.formats.document import (
    MAX_TEXT_CHARACTERS,
    Document,
    File,
    Unreadable,
    clean,
    heading,
)
from baigong.knowledge.formats.office import properties
from baigong.knowledge.formats.tables import tables
from baigong.knowledge.where import Scalar

Value = int | float | str | bool | date | datetime | time | timedelta


def read(file: File) -> Document:
    """The visible sheets; of formulas, what they last gave."""
    title, published_at = file.stem, None
    facts: dict[str, Scalar] = {}
    if not file.data.startswith(OLE):  # the old .xls is no archive
        archive = Archive(file.data, "a spreadsheet")
        archive.check()
        named, facts, published_at = properties(archive)
        title = named or title
    parts: list[str] = []
    size = 0
    for part in _parts(file):
        file.step()
        size += len(part)
        if size > MAX_TEXT_CHARACTERS:
            raise Unreadable(f"holds more than {MAX_TEXT_CHARACTERS:,} characters; split it.")
        parts.append(part)
    text = clean("\n\n".join(parts))
    return Document(
        file.path, title, text, is_markdown=True, metadata=facts, published_at=published_at
    )


def _parts(file: File) -> Iterator[str]:
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(file.data)) as book:
            for sheet in book.sheets_metadata:
                is_shown = sheet.visible == SheetVisibleEnum.Visible
                if is_shown and sheet.typ == SheetTypeEnum.WorkSheet:
                    yield from _sheet(book, sheet.name)
    except CalamineError as error:
        if "Workbook".encode("utf-16-le") not in file.data:
            refuse_old(file.data)
        raise Unreadable(f"is not a whole spreadsheet: {error}") from error


def _sheet(book: CalamineWorkbook, name: str) -> Iterator[str]:
    rows = (
        [shown(value) for value in row]
        for row in book.get_sheet_by_name(name).iter_rows()
        if any(value != "" for value in row)
    )
    yield heading(1, name)
    for row in rows:
        filled = [cell for cell in row if cell]
        if len(filled) > 1:
            yield from tables(chain([row], rows))
        else:  # what stands above the table, e.g. its caption
            yield filled[0]


def shown(value: Value) -> str:
    """A cell as a person would write it: whole numbers without a point, times without microseconds."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds").removesuffix(" 00:00:00")
    return str(value)
