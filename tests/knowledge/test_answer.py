from __future__ import annotations

from pathlib import Path

import pytest

from baigong.knowledge.answer import JUDGED, QuotedAnswer, quote_answer
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.quote import Quote
from baigong.knowledge.retrieve import Search
from baigong.knowledge.support import Evidence, Weighed, support
from baigong.types import Passage
from tests.knowledge.bases import VECTORS, open_bases, search, sync

PAGES = {
    "returns.md": "# Returns\n\nUnused goods may be returned within thirty days of delivery.\n\n"
    "The parcel must hold all accessories and the manual.",
    "warranty.md": "# Warranty\n\nKettles are covered for two years. Filters are not covered.\n\n"
    "Model ZX-1042 is covered for five years.",
    "stores.md": "# Stores\n\nThe shop in Harbour Street opens at nine and closes at seven.",
    "points.md": "# Members\n\nMembers earn one point for each coin they spend. Points expire in May.",
    "保修.md": "# 保修\n\n电饭煲自签收之日起保修两年。人为损坏不在保修范围之内。",
    "退货.md": "# 退货\n\n未使用的商品在签收后三十天内可以退货，退款在五个工作日内到账。",
    "门店.md": "# 门店\n\n海港街店每天上午九点开门，晚上七点关门，春节期间休息三天。",
    "会员.md": "# 会员\n\n会员每消费一元得一个积分，积分在次年五月到期。",
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBases:
    folder: Path = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    made = open_bases(tmp_path_factory.mktemp("home"))
    sync(made, "pages", [folder])
    lone = tmp_path_factory.mktemp("lone")
    (lone / "one.md").write_text("The museum opens at ten. Tickets cost four coins.")
    sync(made, "lone", [lone])
    return made


def ask(
    bases: KnowledgeBases, question: str, knowledge: str = "pages", **narrow: object
) -> QuotedAnswer:
    found = search(bases, knowledge, question, JUDGED, narrow=Search(**narrow))  # type: ignore[arg-type]
    return quote_answer(question, found, VECTORS)


ASKED = [
    ("Within how many days may unused goods be returned?", "returns.md", "thirty days"),
    ("How long are kettles covered?", "warranty.md", "two years"),
    ("When does the shop in Harbour Street open?", "stores.md", "nine"),
    ("When do the points of members expire?", "points.md", "May"),
    ("电饭煲保修多久？", "保修.md", "两年"),
    ("未使用的商品多少天内可以退货？", "退货.md", "三十天"),
    ("海港街店几点开门？", "门店.md", "九点"),
    ("会员积分什么时候到期？", "会员.md", "五月"),
]


@pytest.mark.parametrize(("question", "document", "words"), ASKED)
def test_the_words_that_answer_are_quoted_at_their_place(
    bases: KnowledgeBases, question: str, document: str, words: str
) -> None:
    answer = ask(bases, question)
    first = answer.quotes[0]
    assert answer.is_answered
    assert first.passage.document == document
    assert words in first.quote.text
    text = bases.text("pages", document).encode()
    assert text[first.quote.start : first.quote.end].decode() == first.quote.text


@pytest.mark.parametrize(("question", "document", "words"), ASKED)
def test_without_the_document_it_is_not_in_the_documents(
    bases: KnowledgeBases, question: str, document: str, words: str
) -> None:
    answer = ask(bases, question, without=(document,))
    assert not answer.is_answered
    assert document not in {quoted.passage.document for quoted in answer.quotes}


@pytest.mark.parametrize(
    "question",
    [
        "Who painted the ceiling of the chapel?",
        "What is the boiling point of mercury?",
        "谁写了这部小说？",
        "光合作用需要什么气体？",
        "How long is model QQ-7731 covered?",
        "",
        "?",
        "。",
    ],
)
def test_what_no_document_holds_is_declined(bases: KnowledgeBases, question: str) -> None:
    assert not ask(bases, question).is_answered


def test_a_lone_passage_answers_what_it_holds_and_nothing_else(bases: KnowledgeBases) -> None:
    assert ask(bases, "When does the museum open?", "lone").is_answered
    assert not ask(bases, "When does the museum hire gardeners and cooks?", "lone").is_answered


def test_quotations_fall_in_support_and_are_no_more_than_asked_for(bases: KnowledgeBases) -> None:
    found = search(bases, "pages", "Are kettles and filters covered for two years?", JUDGED)
    for limit in (1, 2, 3):
        quotes = quote_answer("Are kettles covered for two years?", found, VECTORS, limit).quotes
        supports = [quoted.support for quoted in quotes]
        assert 1 <= len(quotes) <= limit
        assert supports == sorted(supports, reverse=True)
        assert all(0 <= value <= 1 for value in supports)


def test_no_passages_are_no_answer() -> None:
    assert quote_answer("When?", [], VECTORS) == QuotedAnswer(False, ())


@pytest.mark.parametrize("is_across", [False, True])
def test_more_evidence_is_more_support(is_across: bool) -> None:
    """In another language words say nothing, and how clearly one is nearest all."""
    passage = Passage("k@1", "a.md", "", "text", 0, 4, matched=1.0)
    evidence = Evidence(0.5, -0.5, 0.5, 0.5, 0.5, 0.2, 0.2)
    middling = Weighed(passage, Quote("text", 0, 4, 1.0), evidence, is_across=is_across)

    def told(**evidence: float) -> float:
        return support(middling._replace(evidence=middling.evidence._replace(**evidence)))

    for name in ("clear",) if is_across else ("quoted", "rank", "peak", "close"):
        assert told(**{name: 1.0}) > support(middling)
    assert told(missing=0.0) > support(middling)
    if not is_across:
        assert told(named=0.0) > support(middling)


def test_who_says_the_same_does_not_stand_against_it() -> None:
    """Yesterday's price list beside today's: both are quoted, and neither makes the other doubtful."""
    texts = ("The ferry ticket costs nine coins.", "The ferry ticket costs eleven coins.")
    other = Passage("k@1", "c.md", "", "The museum ticket is free.", 0, 26, matched=1.0)
    same = [
        Passage("k@1", f"{n}.md", "", text, 0, len(text), matched=4.0 - n / 10)
        for n, text in enumerate(texts)
    ]
    question = "What does a ferry ticket cost?"
    alone = quote_answer(question, [same[0], other], VECTORS).quotes[0].support
    both = quote_answer(question, [*same, other], VECTORS)
    assert both.quotes[0].support > alone - 0.05
    assert [one.passage.document for one in both.quotes] == ["0.md", "1.md"]


def test_another_quarter_of_the_same_report_does_not_stand_against_it_and_is_named() -> None:
    """Four reports with one table: the quarter that is asked for is quoted, the others are told."""
    quarters = ("March", "June", "September", "December")
    head = "Ferry company\n\n| | {} 2024 |\n| --- | --- |\n| Total fares | {} |\n| Fuel | 3 |"
    found = [
        Passage("k@1", f"{quarter}.md", "", text, 0, len(text), matched=8.0 - n / 10)
        for n, quarter in enumerate(quarters)
        for text in [head.format(quarter, 40 + n)]
    ]
    answer = quote_answer(
        "What were the total fares of the Ferry company in June 2024?", found, VECTORS, 1
    )
    assert answer.is_answered
    assert answer.quotes[0].passage.document == "June.md"
    assert answer.quotes[0].quote.text == "| Total fares | 41 |"
    assert {one.document for one in answer.also} == {"March.md", "September.md", "December.md"}
