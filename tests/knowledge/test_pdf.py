from __future__ import annotations

import re
from itertools import pairwise

import pytest

from baigong.knowledge.formats import Document, File, format_of
from tests.knowledge.files import make_pdf, make_placed_pdf, pdf_of

Row = tuple[float, float, str]
Placed = list[Row]


def read(pdf: bytes) -> Document:
    row = format_of("a.pdf")
    assert row is not None
    return row.read(File("a.pdf", pdf))


def lines(
    *rows: tuple[str, ...], top: float = 700, lefts: tuple[float, ...] = (50, 300, 400)
) -> Placed:
    """Rows of cells, 14 points apart; numbers end at the same place, as they are set."""
    placed: Placed = []
    for number, row in enumerate(rows):
        for left, text in zip(lefts, row, strict=False):
            shift = 60 - 5.56 * len(text) if left > 50 and text[-1:].isdigit() else 0
            placed.append((left + shift, top - 14 * number, text))
    return [(x, y, text) for x, y, text in placed if text]


STATEMENT = lines(
    ("", "2022", "2021"),
    ("Net sales:",),
    ("Products", "63,355", "63,948"),
    ("Services", "9,604", "486"),
    ("Total", "82,959", "81,434"),
)
TABLE = """|  | 2022 | 2021 |
| --- | --- | --- |
| Net sales: |  |  |
| Products | 63,355 | 63,948 |
| Services | 9,604 | 486 |
| Total | 82,959 | 81,434 |"""


def test_numbers_in_columns_become_a_table_under_their_years() -> None:
    before = [(50.0, 740.0, "Apples sold, in millions, are shown in the table.")]
    after = [(50.0, 600.0, "All amounts are unaudited and may change at any time.")]
    text = read(make_placed_pdf([before + STATEMENT + after])).text
    assert text == f"{before[0][2]}\n\n{TABLE}\n\n{after[0][2]}"


@pytest.mark.parametrize("rotation", [90, 270])
def test_a_table_on_a_turned_page_is_the_same(rotation: int) -> None:
    assert read(make_placed_pdf([STATEMENT], rotation)).text == TABLE


def test_currency_signs_and_brackets_stay_with_their_number() -> None:
    rows: Placed = []
    for number, (label, first, second) in enumerate([
        ("Gain", "12", "7"),
        ("Loss", "(1,234)", "56"),
    ]):
        y = 700 - 14 * number
        rows += [(50, y, label), (280, y, "$"), (320, y, first), (400, y, "$"), (440, y, second)]
    table = "|  |  |  |\n| --- | --- | --- |\n| Gain | $ 12 | $ 7 |\n| Loss | $ (1,234) | $ 56 |"
    assert read(make_placed_pdf([rows])).text == table


def test_a_heading_over_several_columns_stands_in_each() -> None:
    head: Placed = [(320, 714, "Three Months Ended May 1,")]
    text = read(make_placed_pdf([head + STATEMENT])).text
    assert text.startswith("|  | Three Months Ended May 1, 2022 | Three Months Ended May 1, 2021 |")


@pytest.mark.parametrize("above", [True, False])
def test_a_label_over_two_lines_is_one_row(above: bool) -> None:
    wrapped = [("Adjustments for gains", "", ""), ("included in net income", "5", "6")]
    if above:
        wrapped = [("Adjustments for gains", "5", "6"), ("included in net income", "", "")]
    rows = lines(("Sales", "1", "2"), *wrapped, ("Total", "7", "8"))
    text = read(make_placed_pdf([rows])).text
    assert "| Adjustments for gains included in net income | 5 | 6 |" in text


def test_two_tables_with_other_columns_are_two() -> None:
    below = lines(
        ("", "2022", "2021"), ("C", "5", "6"), ("D", "7", "8"), top=630, lefts=(50, 360, 440)
    )
    text = read(make_placed_pdf([STATEMENT + below])).text
    assert TABLE in text
    assert "|  | 2022 | 2021 |\n| --- | --- | --- |\n| C | 5 | 6 |\n| D | 7 | 8 |" in text


def test_dots_that_lead_to_a_number_are_no_cell() -> None:
    rows = lines(
        ("Intro", "..........", "3"), ("Limits", "........", "12"), ("Index", ".......", "40")
    )
    text = read(make_placed_pdf([rows])).text
    assert "| Limits | 12 |" in text


def test_columns_of_prose_are_no_table() -> None:
    words = "the pump must be stopped and then checked at once by a person"
    rows = lines(*[(words[:45], words[20:62])] * 12)
    text = read(make_placed_pdf([rows])).text
    assert "|" not in text


def test_prose_beside_a_table_stays_whole() -> None:
    prose: Placed = []
    for number in range(14):
        prose.append((
            50,
            700 - 14 * number,
            f"line {number:02} of a text that fills all its column",
        ))
    table = lines(("A", "1", "2"), ("B", "3", "4"), ("C", "5", "6"), lefts=(320, 400, 480))
    table += lines(*[(f"D{n}", "7", "8") for n in range(8)], top=658, lefts=(320, 400, 480))
    text = read(make_placed_pdf([prose + table])).text
    for before, after in pairwise(range(14)):
        assert f"line {before:02} of a text that fills all its column\nline {after:02}" in text
    assert "| B | 3 | 4 |" in text


def test_every_word_of_a_page_is_kept() -> None:
    page = [*STATEMENT, (50.0, 740.0, "Some words before"), (50.0, 500.0, "and some after it.")]
    text = read(make_placed_pdf([page])).text
    for _, _, words in page:
        assert words in text


def test_pages_with_tables_have_exact_spans() -> None:
    document = read(make_placed_pdf([STATEMENT, [(50, 700, "Second page.")], STATEMENT]))
    text = document.text.encode()
    pages = [text[page.start : page.end].decode() for page in document.pages]
    assert pages == [TABLE, "Second page.", TABLE]


def test_lines_that_the_outline_names_are_headings() -> None:
    document = read(make_pdf([["Pump limits", "Stop at 85 degrees."]], outline="Pump  Limits"))
    assert document.text == "# Pump limits\n\nStop at 85 degrees."


SIZED = [(50.0, 700.0 - 14 * number, "the pump must be stopped at once") for number in range(9)]


def test_lines_in_larger_print_on_many_pages_are_headings() -> None:
    pages = [[(50.0, 740.0, f"Part {number} of all", 16), *SIZED] for number in "ABC"]
    pages[1].insert(1, (50.0, 720.0, "Within B", 13))
    text = read(make_placed_pdf(pages)).text
    assert re.findall("^#.*", text, re.MULTILINE) == [
        "# Part A of all",
        "# Part B of all",
        "## Within B",
        "# Part C of all",
    ]


def test_a_sign_at_the_start_of_a_line_makes_no_heading() -> None:
    assert read(make_placed_pdf([[(50.0, 700.0, "# see below"), *SIZED[1:]]])).text.startswith(
        "\\# see below\n"
    )


def test_large_print_on_the_cover_alone_is_no_heading() -> None:
    cover = [(50.0, 740.0, "FORM 10-Q", 20), *SIZED]
    assert "#" not in read(make_placed_pdf([cover, SIZED, SIZED, SIZED])).text


COVER = [(50.0, 640.0, "FORM 10-K", 16), (50.0, 740.0, "Pumps and Valves", 24)]


@pytest.mark.parametrize(
    "title",
    ["", "0000320193-24-000123", "Microsoft Word - final.docx", "untitled", "9f86d081884c7d65"],
)
def test_a_title_that_a_program_gave_yields_to_the_largest_print(title: str) -> None:
    pages = [[*COVER, (50.0, 712.0, "Annual report", 24), *SIZED], SIZED]
    assert read(make_placed_pdf(pages, title=title)).title == "Pumps and Valves Annual report"


def test_a_title_that_somebody_gave_stays() -> None:
    assert read(make_placed_pdf([[*COVER, *SIZED]], title="Pumps")).title == "Pumps"


def test_large_figures_and_small_print_are_no_title() -> None:
    cover = [(50.0, 740.0, "2024-11", 30), (50.0, 700.0, "T", 28), *SIZED]
    assert read(make_placed_pdf([cover, SIZED])).title == "a"


def test_print_up_the_margin_is_no_title() -> None:
    margin = b"/F1 40 Tf 0 1 -1 0 60 100 Tm (Received late) Tj "
    title = b"/F1 20 Tf 1 0 0 1 100 740 Tm (Pumps) Tj "
    body = b"/F1 10 Tf 1 0 0 1 100 700 Tm (The pump must be stopped at once by hand.) Tj "
    assert read(pdf_of([b"BT " + margin + title + body + b"ET"])).title == "Pumps"


def test_without_large_print_the_outline_names_a_pdf() -> None:
    data = make_pdf([["Oil", "Change it."]], title="untitled", outline="Oil")
    assert read(data).title == "Oil"


def test_a_pdf_tells_author_and_time() -> None:
    document = read(make_pdf([["x"]], title="T"))
    assert document.metadata == {"author": "A. Writer"}
    assert document.published_at == 1706673600.0  # 2024-01-31 12:00 at +08:00
