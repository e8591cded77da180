"""Parsing beside markitdown: how fast, and how many rows of tables come out with their cells apart.

`python -m bench.parsing --data FOLDER`, where FOLDER holds PDF files with tables, e.g. reports of
companies. What a row is, is told by the text of the page alone: a line that is a label and then at
least two numbers. It counts as found where a line of the output holds the label's letters and these
numbers in order, and as a row of cells where each of the numbers fills a cell of that line.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pypdfium2

from baigong.knowledge.formats import File, format_of
from baigong.knowledge.parse import Document, Parser
from bench.environment import interpreter
from bench.record import record

ROOT = Path(__file__).parent.parent
PEER = "markitdown"
PACKAGES = ("markitdown[pdf,docx,pptx,xlsx]==0.1.9",)

# Run in the peer's own environment: texts and seconds of the files named, the first one twice, since
# the first call loads libraries.
_CONVERT = """
import json, sys, time
from markitdown import MarkItDown
convert = MarkItDown().convert
paths = sys.argv[1:]
convert(paths[0])
found = {}
for path in paths:
    began = time.perf_counter()
    text = convert(path).text_content
    found[path] = (text, time.perf_counter() - began)
print(json.dumps(found))
"""

Converted = dict[str, tuple[str, float]]  # by path: text, seconds


def theirs(home: Path, paths: list[Path]) -> Converted:
    command = [str(interpreter(home, PEER, PACKAGES)), "-c", _CONVERT, *map(str, paths)]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return {path: (text, seconds) for path, (text, seconds) in json.loads(made.stdout).items()}


def ours(paths: list[Path]) -> Converted:
    found: Converted = {}
    for path in [paths[0], *paths]:
        data = path.read_bytes()
        row = format_of(path.name)
        assert row is not None
        began = time.perf_counter()
        text = row.read(File(path.name, data)).text
        found[str(path)] = (text, time.perf_counter() - began)
    return found


def seconds_apart(paths: list[Path], processes: int) -> float:
    """The time for all files through the processes that a build uses, which are started before."""
    files = [(path.name, path.read_bytes(), None) for path in paths]
    with Parser(processes=processes) as parser:
        for _ in parser.parse_many(files[:1] * 2 * processes):
            pass
        began = time.perf_counter()
        for _, outcome in parser.parse_many(files):
            assert isinstance(outcome, Document)
        return time.perf_counter() - began


# --- rows of tables ------------------------------------------------------------------------------

_NUMBER = r"\(?\d[\d,.]*\)?"
_ROW = re.compile(rf"(?P<label>\D.*?[A-Za-z].*?)(?P<numbers>(?: \$? ?(?:{_NUMBER}|—) ?%?){{2,}})")
_DATE = re.compile(
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|\b(?:and|of|to|or|in|by)$)\w*\.?$", re.I
)


@dataclass(frozen=True)
class Row:
    """The letters of a label, and its numbers without signs."""

    letters: str
    numbers: list[str]


def rows_of(pdf: Path) -> Iterator[Row]:
    """The lines of a file that can only be rows of a table."""
    for page in pypdfium2.PdfDocument(pdf):
        for line in page.get_textpage().get_text_range().splitlines():
            found = _ROW.fullmatch(line.strip())
            if found is None or _DATE.search(found["label"].strip()):
                continue
            yield Row(_letters(found["label"]), _numbers(found["numbers"]))


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]+", "", text)


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*\d|\d", text)


def shares(rows: list[Row], text: str) -> tuple[float, float]:
    """How many of the rows stand on one line of the text, and how many in cells of their own."""
    lines = [(_letters(line), _numbers(line), line) for line in text.split("\n")]
    by_number: dict[str, list[int]] = {}
    for at, (_, numbers, _) in enumerate(lines):
        for number in set(numbers):
            by_number.setdefault(number, []).append(at)
    found = apart = 0
    for row in rows:
        rare = min(row.numbers, key=lambda number: len(by_number.get(number, [])), default="")
        hits = [
            lines[at][2]
            for at in by_number.get(rare, [])
            if row.letters in lines[at][0] and lines[at][1][-len(row.numbers) :] == row.numbers
        ]
        found += bool(hits)
        apart += any(_is_apart(line, row.numbers) for line in hits)
    return found / len(rows), apart / len(rows)


def _is_apart(line: str, numbers: list[str]) -> bool:
    cells = [_numbers(cell) for cell in line.strip().strip("|").split("|")]
    return [cell[0] for cell in cells if len(cell) == 1][-len(numbers) :] == numbers


# --- office files --------------------------------------------------------------------------------


def word() -> bytes:
    document = docx.Document()
    for number in range(300):
        document.add_heading(f"Section {number}", 1 + number % 3)
        for _ in range(5):
            document.add_paragraph("The pump must be stopped and checked at once. " * 6)
        if number % 6 == 0:
            grid = document.add_table(rows=12, cols=4)
            for at, cell in enumerate(cell for row in grid.rows for cell in row.cells):
                cell.text = f"cell {at}"
    return _saved(document)


def sheet() -> bytes:
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("Sales")
    for number in range(20_000):
        page.append([f"part {number}", number, number / 7, f"AB-{number}", "shop", True, 7, "open"])
    return _saved(book)


def slides() -> bytes:
    deck = pptx.Presentation()
    for number in range(150):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = "\n".join(f"point {at} of this slide" for at in range(8))
    return _saved(deck)


def _saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


OFFICE: dict[str, Callable[[], bytes]] = {
    "300 sections.docx": word,
    "20000 rows.xlsx": sheet,
    "150 slides.pptx": slides,
}


# --- figures -------------------------------------------------------------------------------------


def compare_pdf(home: Path, paths: list[Path]) -> list[dict[str, Any]]:
    pages = sum(len(pypdfium2.PdfDocument(path)) for path in paths)
    mine, peer = ours(paths), theirs(home, paths)
    rows = {str(path): list(rows_of(path)) for path in paths}
    total = sum(map(len, rows.values()))
    figures = []
    for work, which in (("rows on one line", 0), ("rows with cells apart", 1)):
        kept = [
            sum(shares(rows[path], made[path][0])[which] * len(rows[path]) for path in rows) / total
            for made in (mine, peer)
        ]
        figures.append(_row(f"PDF, {work} of {total}", kept[0], kept[1], "", 1.0))
    times = [sum(seconds for _, seconds in made.values()) for made in (mine, peer)]
    figures.append(_row("PDF, one process", pages / times[0], pages / times[1], "pages/s", 10.0))
    for processes in (1, 2):
        speed = pages / seconds_apart(paths, processes)
        figures.append(_row(f"PDF, {processes} isolated", speed, None, "pages/s", None))
    return figures


def compare_office(home: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in OFFICE]
        for path in paths:
            path.write_bytes(OFFICE[path.name]())
        mine, peer = {}, {}
        for path in paths:  # each alone, so that each is converted once before it is timed
            mine |= ours([path])
            peer |= theirs(home, [path])
        return [
            _row(path.name, 1 / mine[str(path)][1], 1 / peer[str(path)][1], "files/s", 1.0)
            for path in paths
        ]


def _row(
    work: str, mine: float, theirs: float | None, unit: str, goal: float | None
) -> dict[str, Any]:
    ratio = None if theirs is None else round(mine / theirs, 3)
    return {
        "work": work,
        "peer": PEER if theirs is not None else "",
        "ours": round(mine, 4),
        "theirs": None if theirs is None else round(theirs, 4),
        "unit": unit,
        "ratio": ratio,
        "goal": None if goal is None else f">= {goal}",
        "met": None if ratio is None or goal is None else ratio >= goal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with PDF files")
    parser.add_argument(
        "--home",
        type=Path,
        default=os.environ.get("BENCH_HOME", ROOT / ".bench"),
        help="folder for the peer's environment (BENCH_HOME)",
    )
    options = parser.parse_args()
    paths = sorted(options.data.glob("*.pdf"))
    if not paths:
        parser.error(f"{options.data} holds no PDF file")
    rows = [*compare_pdf(options.home, paths), *compare_office(options.home)]
    for row in rows:
        print(
            "{work:34} {ours:>10} {unit:8} {theirs!s:>10} {ratio!s:>8} {goal!s:>8} {met!s:6} {peer}".format(
                **row
            )
        )
    machine = {"cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    libraries = ("pypdfium2", "python-calamine", "lxml")
    record("parsing", rows, libraries, machine=machine, peers=list(PACKAGES))


if __name__ == "__main__":
    main()
