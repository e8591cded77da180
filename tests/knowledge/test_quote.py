from __future__ import annotations

import pytest

from baigong.knowledge.quote import best_quote
from baigong.types import Passage
from tests.knowledge.bases import VECTORS


def passage(text: str, start: int = 0) -> Passage:
    return Passage("kb@1", "a.md", "t", text, start, start + len(text.encode()))


@pytest.mark.parametrize(
    ("text", "question", "wanted"),
    [
        (
            "水泵由电机驱动。最高工作温度是八十五度。停机后方可检修。",
            "最高温度是多少？",
            "最高工作温度是八十五度。",
        ),
        (
            "Dr. Smith built it in 3.5 days. Refunds take 5 days. Shipping is free.",
            "How long does a refund take?",
            "Refunds take 5 days.",
        ),
        (
            "# Refunds\n\nThey take five days.\n\n# Shipping\n\nIt is free.",
            "refunds",
            "They take five days.",
        ),
        (
            "问：如何退货？\n答：请在三十天内寄回。\n问：如何付款？\n答：支持银行转账。",
            "怎么退货",
            "答：请在三十天内寄回。",
        ),
        (
            "The pump is made of steel and it is\nrated for ninety degrees. It is blue.",
            "What is the pump rated for?",
            "The pump is made of steel and it is\nrated for ninety degrees.",
        ),
    ],
)
def test_the_sentence_that_answers(text: str, question: str, wanted: str) -> None:
    quote = best_quote(question, passage(text), sentences=1)
    assert quote.text == wanted
    assert quote.score > 0


def test_the_span_counts_bytes_of_the_document() -> None:
    document = "前言。\n\n水泵由电机驱动。最高温度是八十五度。" + "完。"
    start = len("前言。\n\n".encode())
    quote = best_quote("温度", passage("水泵由电机驱动。最高温度是八十五度。", start))
    assert (
        document.encode()[quote.start : quote.end].decode() == quote.text == "最高温度是八十五度。"
    )


def test_a_neighbour_that_adds_much_comes_along() -> None:
    text = "The office is in Basel. It opens at nine on Mondays. Bring an umbrella."
    quote = best_quote("When does the Basel office open on Mondays, at nine?", passage(text))
    assert quote.text == "The office is in Basel. It opens at nine on Mondays."


def test_without_a_match_it_is_the_first_sentence() -> None:
    quote = best_quote("xyz", passage("第一句。第二句。"))
    assert (quote.text, quote.score) == ("第一句。", 0.0)


@pytest.mark.parametrize("text", ["", " ", "。", "a.", "...", "# ", "?", "e.g.", "\n\n"])
def test_odd_passages_never_raise(text: str) -> None:
    quote = best_quote("what?", passage(text, 7))
    assert text.encode()[quote.start - 7 : quote.end - 7].decode() == quote.text


REPORT = """Lantern House
Sales of the shop
(in thousands of coins)

| | May 2024 | May 2023 |
| --- | --- | --- |
| Lamps: | | |
| Oil lamps | 412 | 388 |
| Paper lamps | 95 | 120 |
| Total lamps | 507 | 508 |
| Rent received | 31 | 30 |
"""


def test_a_row_is_quoted_under_its_caption_head_and_group() -> None:
    """The span holds the row alone; after the sum of its group a row is of no group."""
    quote = best_quote("How much were sales of paper lamps in May 2024?", passage(REPORT, 9))
    assert quote.text == "| Paper lamps | 95 | 120 |"
    assert REPORT.encode()[quote.start - 9 : quote.end - 9].decode() == quote.text
    head = REPORT[: REPORT.index("| Lamps:")]
    assert quote.table == f"{head}| Lamps: | | |\n{quote.text}"
    assert (
        best_quote("Rent received", passage(REPORT)).table == f"{head}| Rent received | 31 | 30 |"
    )


def test_a_row_of_a_passage_that_begins_in_the_table_has_what_stands_above() -> None:
    cut = REPORT.index("| Paper")
    lead = REPORT[: REPORT.index("| Oil")].rstrip("\n")
    found = Passage("kb@1", "a.md", "t", REPORT[cut:], cut, len(REPORT), lead=lead)
    quote = best_quote("paper lamps", found)
    assert REPORT.encode()[quote.start : quote.end].decode() == "| Paper lamps | 95 | 120 |"
    assert quote.table == f"{lead}\n{quote.text}"


def test_in_another_language_the_nearest_sentence_is_quoted() -> None:
    text = "The museum is closed on Mondays. Dogs must wait outside. Tickets cost four dollars."
    assert best_quote("门票多少钱？", passage(text), VECTORS, sentences=1).text.startswith(
        "Tickets"
    )
    assert best_quote("狗可以进去吗？", passage(text), VECTORS, sentences=1).text.startswith("Dogs")
