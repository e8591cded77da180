from __future__ import annotations

from pathlib import Path

import pytest

from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.followup import leans, standalone
from tests.knowledge.bases import open_bases, search, sync

PAGES = {
    "kettle.md": "The kettle has a warranty of two years. The kettle holds two litres. The kettle costs forty coins.",
    "toaster.md": "The toaster has a warranty of one year. The toaster holds four slices. The toaster costs thirty coins.",
    "express.md": "Express shipping costs nine coins. Express shipping takes one day.",
    "standard.md": "Standard shipping costs three coins. Standard shipping takes five days.",
    "vaccine-adults.md": "The dose of the vaccine for adults is two shots.",
    "vaccine-children.md": "The dose of the vaccine for children is one shot.",
    "syrup-children.md": "The syrup for children tastes of cherry.",
    "电水壶.md": "电水壶保修两年。电水壶容量两升。电水壶价格四十元。",
    "面包机.md": "面包机保修一年。面包机容量四片。面包机价格三十元。",
    "加急.md": "加急配送收费九元。加急配送一天送达。",
    "标准.md": "标准配送收费三元。标准配送五天送达。",
    "疫苗成人.md": "成人疫苗的剂量是两针。",
    "疫苗儿童.md": "儿童疫苗的剂量是一针。",
    "糖浆儿童.md": "儿童糖浆是樱桃口味。",
}

# A person's turns, and the document that the last of them asks for.
LEANING = [
    (("How long is the warranty of the kettle?", "How much does it cost?"), "kettle.md"),
    (("How long is the warranty of the toaster?", "And what does it hold?"), "toaster.md"),
    (("What does express shipping cost?", "How long does it take?"), "express.md"),
    (("What does standard shipping cost?", "How many days is that?"), "standard.md"),
    (("What dose of the vaccine do adults get?", "and for children?"), "vaccine-children.md"),
    (("What dose of the vaccine do children get?", "What about adults?"), "vaccine-adults.md"),
    (("How much does the kettle hold?", "Thanks. Its warranty?"), "kettle.md"),
    (("Tell me about the toaster.", "What is its warranty?", "And the price?"), "toaster.md"),
    (("电水壶保修多久？", "它多少钱？"), "电水壶.md"),
    (("面包机保修多久？", "那容量呢？"), "面包机.md"),
    (("加急配送收多少钱？", "要几天？"), "加急.md"),
    (("标准配送收多少钱？", "这个几天能到？"), "标准.md"),
    (("成人疫苗的剂量是多少？", "那儿童呢？"), "疫苗儿童.md"),
    (("儿童疫苗的剂量是多少？", "成人呢？"), "疫苗成人.md"),
    (("电水壶容量多大？", "保修呢？"), "电水壶.md"),
    (("介绍一下面包机。", "它保修多久？", "价格呢？"), "面包机.md"),
]

ALONE = [
    "How long does it take to get a refund on my card?",
    "What are your opening hours?",
    "Which documents do I need for a parking permit?",
    "And finally, which documents must a new resident bring to the town office for a permit?",
    "发票如何开具？",
    "你们几点开门？",
    "申请停车证需要什么材料？",
    "怎么申请退货退款？",
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBases:
    folder: Path = tmp_path_factory.mktemp("pages")
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    made = open_bases(tmp_path_factory.mktemp("home"))
    sync(made, "pages", [folder])
    return made


def places(bases: KnowledgeBases, asked: list[tuple[str, str]]) -> list[int]:
    """The place of the wanted document in what each question finds, 99 where it is not there."""
    found = [search(bases, "pages", question, 5) for question, _ in asked]
    names = [[passage.document for passage in passages] for passages in found]
    return [
        those.index(wanted) + 1 if wanted in those else 99
        for those, (_, wanted) in zip(names, asked, strict=True)
    ]


def test_a_question_that_leans_on_another_is_found_with_it(bases: KnowledgeBases) -> None:
    """13 of 16 are first, and by the last turn alone 6. Where one subject takes the place of
    another ("and for children?") the old one may stay ahead of it; all are among the first three."""
    with_turns = places(bases, [(standalone(turns), wanted) for turns, wanted in LEANING])
    alone = places(bases, [(turns[-1], wanted) for turns, wanted in LEANING])
    assert sum(place == 1 for place in with_turns) >= 13
    assert max(with_turns) <= 3
    assert sum(place == 1 for place in alone) <= 6


@pytest.mark.parametrize("question", ALONE)
def test_a_question_that_stands_by_itself_stays_as_it_is(question: str) -> None:
    assert standalone(["How long is the warranty of the kettle?", question]) == question
    assert not leans(question)


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert standalone(["And for children?"]) == "And for children?"
    assert standalone([]) == standalone(["", " "]) == ""


def test_a_new_subject_ends_what_came_before() -> None:
    turns = [
        "What does the kettle cost?",
        "Which documents does a parking permit need?",
        "and why?",
    ]
    assert "kettle" not in standalone(turns)
    assert "parking" in standalone(turns)


def test_however_much_was_said_before_a_search_stays_short() -> None:
    turns = ["kettle " + " ".join(f"word{n}" for n in range(2000)), "And it?"]
    assert len(standalone(turns)) < 400
    assert len(standalone(["水" * 20_000, "那它呢？"])) < 400
