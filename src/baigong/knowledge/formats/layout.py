"""Tables found from where the words of a page stand: lines, cells by their gaps, columns by rows.

A table is a run of lines of which several hold a label and, in columns, numbers. Lines of words
alone above it are its header; a label over two lines is one label. All else on the page keeps the
order and the line ends that the page's own text has.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from baigong.knowledge.formats.lines import BROKEN, Cell, Line, Word, lines_of
from baigong.knowledge.formats.tables import table

MAX_WORDS = 20_000  # of a page; a page of text has 500


class Table(NamedTuple):
    """The words of a table, as numbers of a page's words, and its Markdown."""

    words: frozenset[int]
    markdown: str


def tables_of(words: Sequence[Word]) -> list[Table]:
    """The tables of a page."""
    if len(words) > MAX_WORDS:
        return []
    runs = list(_runs(lines_of(words)))
    gutter = next((x for x in map(_gutter, runs) if x is not None), None)
    if gutter is not None:  # what stood there for labels is a column of prose
        left = [word for word in words if word.right <= gutter]
        right = [word for word in words if word.left > gutter]
        if len(left) + len(right) > 0.8 * len(words):
            return [made for half in (left, right) for made in tables_of(half)]
    return [made for run in runs if (made := _table(run)) is not None]


def _gutter(run: Sequence[Line]) -> float | None:
    """Where the column of prose beside these lines ends, if their first cells are full lines."""
    firsts = [line.cells[0] for line in run if len(line.cells) > 1 and len(line.cells[0].text) > 20]
    if len(firsts) < 6 or len(firsts) < 0.7 * len(run):
        return None
    edge = max(cell.right for cell in firsts)
    full = [cell for cell in firsts if cell.right > edge - 1.5 * run[0].height]
    return edge + 0.1 if len(full) > 0.6 * len(firsts) else None


# --- runs of lines that may be a table -----------------------------------------------------------

_APART = 3.2  # heights between two lines: more, and they belong to different things
_LONG = 100  # characters; a line of one cell above all numbers that is longer is prose


def _runs(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Stretches of lines that hold one table each, from its header to its last row."""
    run: list[Line] = []
    prose: Line | None = None  # the line above, if that was prose
    for line in lines:
        is_prose = _is_prose(line, run) or (prose is not None and _is_tail(line, prose))
        prose = line if is_prose else None
        if run and (is_prose or run[-1].middle - line.middle > _APART * _taller(line, run[-1])):
            yield from _split(run)
            run = []
        if not is_prose:
            run.append(line)
    yield from _split(run)


def _taller(line: Line, other: Line) -> float:
    return max(line.height, other.height)


def _is_prose(line: Line, run: Sequence[Line]) -> bool:
    """Whether a line of one cell runs on under the numbers of the lines above it."""
    if len(line.cells) != 1:
        return False
    cell = line.cells[0]
    lefts = [above.cells[1].left for above in run if above.is_row]
    if not lefts:
        return len(cell.text) > _LONG
    edge = median(lefts)
    return len(cell.text) > 60 and cell.left < edge < cell.right - 2 * line.height


def _is_tail(line: Line, prose: Line) -> bool:
    """Whether a line is the last one of a paragraph."""
    if len(line.cells) > 1 or prose.middle - line.middle > 1.35 * _taller(line, prose):
        return False
    return abs(line.cells[0].left - prose.cells[0].left) < line.height


def _split(run: list[Line]) -> Iterator[list[Line]]:
    """The run cut where another header begins, or where numbers stand in other columns."""
    part: list[Line] = []
    columns: list[_Column] = []
    for line in run:
        if line.is_row and not line.is_years:
            values = [cell for cell in line.cells[1:] if cell.is_value]
            wider = _merged([*columns, *values])
            if len(wider) < len(columns) or _share_one(values, wider):
                part = yield from _cut(part)
                wider = _merged(values)
            columns = wider
        elif columns and _is_header(line, columns):
            part = yield from _cut(part)
            columns = []
        part.append(line)
    yield from _trimmed(part)


def _share_one(values: Sequence[Cell], columns: Sequence[_Column]) -> bool:
    return any(sum(map(column.meets, values)) > 1 for column in columns)


def _cut(part: list[Line]) -> Generator[list[Line], None, list[Line]]:
    """Give out the part up to its last row; what stands below that is kept for the next table."""
    last = max(
        (at for at, line in enumerate(part) if line.is_row and not line.is_years), default=-1
    )
    yield from _trimmed(part[: last + 1])
    return part[last + 1 :]


def _is_header(line: Line, columns: Sequence[_Column]) -> bool:
    """Whether a line of several cells below rows is the header of another table."""
    if len(line.cells) < 2 or line.has_value:
        return line.is_years
    return line.cells[0].left > columns[0].left - 4 * line.height


def _trimmed(part: list[Line]) -> Iterator[list[Line]]:
    """The part from what heads its first row to its last row, if it has at least two rows."""
    rows = [at for at, line in enumerate(part) if line.is_row]
    if all(part[at].is_years for at in rows) or not _is_enough(part, rows):
        return
    first, last = rows[0], rows[-1]
    edge = min(part[at].cells[1].left for at in rows)
    labels = [part[at].cells[0] for at in rows]
    start = min((cell.left for cell in labels if not cell.is_value), default=edge)
    while last + 1 < len(part) and _follows(part[last], part[last + 1]):
        last += 1
    while first > 0 and _heads(part[first - 1], part[first], start, edge):
        first -= 1
    yield part[first : last + 1]


def _is_enough(part: Sequence[Line], rows: Sequence[int]) -> bool:
    """Two rows, or one of several numbers under a header."""
    if len(rows) != 1:
        return len(rows) > 1
    at = rows[0]
    is_headed = at > 0 and len(part[at - 1].cells) > 2
    return is_headed and sum(cell.is_value for cell in part[at].cells) > 1


def _follows(row: Line, line: Line) -> bool:
    """Whether a line goes on with the label of the last row, or is a value under it."""
    if row.middle - line.middle > 1.5 * row.height or len(line.cells) > 1:
        return False
    cell = line.cells[0]
    is_tail = cell.text[:1].islower() and cell.left < row.cells[0].right
    return cell.is_value or is_tail


def _heads(line: Line, row: Line, start: float, edge: float) -> bool:
    """Whether a line right above belongs to the table: it has several cells, or stands over numbers.

    Labels begin at `start`, numbers at `edge`.
    """
    if line.middle - row.middle > 2.6 * _taller(line, row):
        return False
    if len(line.cells) > 1:
        return True
    cell = line.cells[0]
    if cell.left <= start + 2 * row.height:  # "Net sales:", the name of the first rows
        return cell.right < edge and len(cell.text) <= 60
    return cell.left > edge - 4 * row.height


# --- columns -------------------------------------------------------------------------------------


_EDGE = 3.0  # points


class _Column(NamedTuple):
    left: float
    right: float

    def meets(self, cell: Cell | _Column) -> bool:
        """Whether they share more than an edge: brackets and signs reach a little too far."""
        edge = min(_EDGE, (cell.right - cell.left) / 4)
        return cell.left < self.right - edge and cell.right > self.left + edge


def _table(run: list[Line]) -> Table | None:
    head = _head_size(run)
    body = run[head:]
    columns, labels = _columns(body)
    if len(columns) < 2:
        return None
    header = [""] * len(columns)
    for line in run[:head]:
        for at, words in enumerate(_spread(line, columns)):
            header[at] = f"{header[at]} {words}".strip()
    rows = _joined_labels([(line, _placed(line, columns)) for line in body], max(1, labels))
    taken = frozenset(word.start for line in run for cell in line.cells for word in cell.words)
    whole = [[cell.replace(f"{BROKEN} ", "") for cell in row] for row in [header, *rows]]
    return Table(taken, table(whole))


def _head_size(run: Sequence[Line]) -> int:
    """How many lines stand above the rows and above the name of the first group of rows."""
    first = next((at for at, line in enumerate(run) if line.is_row and not line.is_years), 0)
    at = first
    while at > 0 and _is_group(run[at - 1], run[first]):
        at -= 1
    return at


def _is_group(line: Line, row: Line) -> bool:
    """Whether a line of one cell names the rows below it: it stands where their labels do."""
    cell = line.cells[0]
    if len(line.cells) > 1 or cell.is_value or row.cells[0].is_value:
        return False
    return cell.left <= row.cells[0].left + row.height


def _columns(body: Sequence[Line]) -> tuple[list[_Column], int]:
    """Where numbers stand below each other, and words beside them; how many come before the numbers."""
    rows = [line for line in body if line.is_row]
    values = _merged(
        cell for line in rows for number, cell in enumerate(line.cells) if cell.is_value and number
    )
    if not values:
        return [], 0
    firsts = values[0].left
    others = [
        cell
        for line in rows
        for cell in line.cells
        if not any(column.meets(cell) for column in values)
    ]
    labels = _indented(_merged(cell for cell in others if cell.left < firsts), rows)
    between = _merged(cell for cell in others if cell.left >= firsts)
    return sorted([*labels, *values, *between]), len(labels)


def _indented(columns: list[_Column], rows: Sequence[Line]) -> list[_Column]:
    """Columns of labels, those as one of which no row fills two: they are indented, not apart."""
    kept: list[_Column] = []
    for column in columns:
        if kept and not any(
            any(map(kept[-1].meets, row.cells)) and any(map(column.meets, row.cells))
            for row in rows
        ):
            kept[-1] = _Column(kept[-1].left, column.right)
        else:
            kept.append(column)
    return kept


def _merged(cells: Iterable[Cell | _Column]) -> list[_Column]:
    columns: list[_Column] = []
    for cell in sorted(cells, key=lambda cell: cell.left):
        if columns and columns[-1].meets(cell):
            last = columns[-1]
            columns[-1] = _Column(last.left, max(last.right, cell.right))
        else:
            columns.append(_Column(cell.left, cell.right))
    return columns


def _placed(line: Line, columns: Sequence[_Column]) -> list[str]:
    """The cells of a row by column; a label too long for its column stays in it."""
    placed = [""] * len(columns)
    for number, cell in enumerate(line.cells):
        if number == 0 and not cell.is_value and cell.left < columns[1].left:
            at = next((a for a, column in enumerate(columns) if column.meets(cell)), 0)
        else:
            at = _nearest(cell, columns)
        placed[at] = f"{placed[at]} {cell.text}".strip()
    return placed


def _nearest(cell: Cell, columns: Sequence[_Column]) -> int:
    """The column that a cell shares most with, or stands nearest to."""

    def shared(column: _Column) -> float:
        return min(cell.right, column.right) - max(cell.left, column.left)

    return max(range(len(columns)), key=lambda at: shared(columns[at]))


def _spread(line: Line, columns: Sequence[_Column]) -> list[str]:
    """A line of the header by column: words over several columns stand in each."""
    spread = [""] * len(columns)
    for cell in line.cells:
        met = [at for at, column in enumerate(columns) if column.meets(cell)]
        for at in met or [_nearest(cell, columns)]:
            spread[at] = f"{spread[at]} {cell.text}".strip()
    return spread


# --- labels over several lines -------------------------------------------------------------------


def _joined_labels(rows: Sequence[tuple[Line, list[str]]], labels: int) -> list[list[str]]:
    """Rows with the lines of each label together: beside its numbers, above or below them.

    `labels` is how many columns stand left of the numbers.
    """
    pitch = median(
        [above.middle - below.middle for (above, _), (below, _) in pairwise(rows)] or [0]
    )
    edge = max(map(_label_end, (line for line, _ in rows)))
    joined: list[list[str]] = []
    before = rows[0][0]
    for line, cells in rows:
        is_full = _label_end(before) > edge - 8 * before.height  # no word more fits on that line
        is_tight = is_full and before.middle - line.middle < 0.93 * pitch
        if joined and _goes_on(joined[-1], cells, labels, is_tight=is_tight):
            both = zip(joined[-1], cells, strict=True)
            joined[-1] = [f"{above} {below}".strip() for above, below in both]
        else:
            joined.append(cells)
        before = line
    return joined


def _label_end(line: Line) -> float:
    """Where the words before the numbers of a line end."""
    return max((cell.right for cell in line.cells if not cell.is_value), default=0.0)


def _goes_on(above: list[str], below: list[str], labels: int, *, is_tight: bool) -> bool:
    """Whether two lines are one row: only one of them has numbers, and the label is one phrase."""
    label = " ".join(filter(None, above[:labels]))
    if (any(above[labels:]) and any(below[labels:])) or not label or label.endswith((":", "：")):
        return False
    rest = " ".join(filter(None, below[:labels]))
    if not rest:  # numbers half way between two lines of their label, or under it
        return not any(above[labels:])
    if below[0] and labels > 1 and above[0]:
        return False  # each has a first cell of its own
    return rest[0].islower() or rest[0] == "(" or is_tight
