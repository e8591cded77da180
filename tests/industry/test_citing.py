import pytest

from baigong.industry.citing import cite, marked, marks
from baigong.types import Passage

PASSAGES = [
    Passage("k@1", "en.md", "Refunds", "Refunds take 5 days. Postage is free for members.", 0, 49),
    Passage("k@1", "zh.md", "保修", "净水器保修两年，滤芯除外。", 0, 39, published_at=8.0, url="u"),
]
CITATIONS = cite("How long do refunds take?", PASSAGES)


def said(answer):
    found = marks(answer, CITATIONS)
    return [(mark.number, answer[mark.start : mark.end], mark.is_supported) for mark in found]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Refunds take 5 days [1].", [(1, "Refunds take 5 days", True)]),
        ("Hello. Refunds take 5 days. [1]", [(1, "Refunds take 5 days.", True)]),
        ("[1] Refunds take 5 days.", [(1, "Refunds take 5 days.", True)]),
        ("净水器保修两年【2】。", [(2, "净水器保修两年", True)]),
        ("净水器保修两年。[2] 邮费五元。[1]", [(2, "净水器保修两年。", True), (1, "邮费五元。", False)]),
        (
            "[2] 净水器保修两年。\n[1] Postage is free.",
            [(2, "净水器保修两年。", True), (1, "Postage is free.", True)],
        ),
        (
            "Postage is free for members [1][2].",
            [(1, "Postage is free for members", True), (2, "Postage is free for members", False)],
        ),
        ("Refunds take 5 days [1, 2].", [(1, "Refunds take 5 days", True), (2, "Refunds take 5 days", False)]),
        ("Refunds take 7 days [1].", [(1, "Refunds take 7 days", False)]),  # another number
        ("Kettles hold two litres [1].", [(1, "Kettles hold two litres", False)]),
        ("Refunds take 5 days [7].", [(7, "Refunds take 5 days", False)]),  # no such passage
        ("Nothing is cited here.", []),
        ("", []),
        ("[1]", [(1, "", False)]),
        ("In [2024] refunds took 5 days.", []),
    ],
)  # fmt: skip
def test_a_mark_stands_for_the_words_before_it_or_after_a_leading_one(answer, wanted):
    assert said(answer) == wanted


def test_a_citation_is_supported_where_all_that_it_is_cited_for_is():
    answer = "Refunds take 5 days [1]. They take 9 days [1]. 净水器保修两年 [2]."
    shown = marked(CITATIONS, marks(answer, CITATIONS))
    assert [one.is_supported for one in shown] == [False, True]
    assert [one.is_supported for one in marked(CITATIONS, [])] == [None, None]


def test_a_citation_says_when_it_was_published_and_where_it_may_be_opened():
    assert (CITATIONS[1].published_at, CITATIONS[1].url) == (8.0, "u")
    assert CITATIONS[0].quote == "Refunds take 5 days."
    assert [one.number for one in CITATIONS] == [1, 2]
