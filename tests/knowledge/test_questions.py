from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.measure import Question, measure_base
from baigong.knowledge.questions import made_questions
from tests.knowledge.bases import VECTORS, open_bases, sync

HANDBOOK = Path(__file__).parents[2] / "recipes" / "customer-service" / "handbook"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBases:
    made = open_bases(tmp_path_factory.mktemp("home"))
    sync(made, "handbook", [HANDBOOK])
    empty = tmp_path_factory.mktemp("short")
    (empty / "short.md").write_text("# Hi\n\nYes.")
    sync(made, "short", [empty])
    return made


def test_questions_are_the_same_each_time_and_of_all_documents(bases: KnowledgeBases) -> None:
    asked = made_questions(bases, "handbook")
    assert asked == made_questions(bases, "handbook")
    assert len(asked) == len({question.question for question in asked}) == 60
    held = {document.path for document in bases.documents("handbook")}
    assert {question.document for question in asked} == held
    assert made_questions(bases, "handbook", 10) == asked[:10]


def test_a_question_holds_words_of_its_sentence_and_not_the_sentence(bases: KnowledgeBases) -> None:
    for asked in made_questions(bases, "handbook"):
        text = " ".join(bases.text("handbook", asked.document).split())
        assert asked.quote is not None
        assert asked.quote in text
        assert asked.question not in text
        assert asked.quote not in asked.question


def test_both_languages_ask_by_words_and_by_headings(bases: KnowledgeBases) -> None:
    asked = [one.question for one in made_questions(bases, "handbook")]
    assert any(question.startswith("关于") for question in asked)
    assert any(question.startswith("What does") for question in asked)
    assert sum("\u4e00" <= question[0] <= "\u9fff" for question in asked) > 15


def test_a_base_without_a_sentence_makes_no_questions(bases: KnowledgeBases) -> None:
    assert made_questions(bases, "short") == []
    assert asyncio.run(measure_base(bases, "short", [], VECTORS)).questions == 0


def test_the_figures_tell_a_right_document_from_a_wrong_one(bases: KnowledgeBases) -> None:
    asked = made_questions(bases, "handbook", 24)
    good = asyncio.run(measure_base(bases, "handbook", asked, VECTORS))
    assert good.questions == 24
    assert good.recall_at_3 > 0.9
    assert good.cited > 0.7
    assert good.declined > 0.6
    assert good.answered >= good.cited
    assert good.seconds > 0
    others = [asked[-1], *asked[:-1]]
    wrong = [
        msgspec.structs.replace(one, document=other.document, quote=other.quote)
        for one, other in zip(asked, others, strict=True)
    ]
    bad = asyncio.run(measure_base(bases, "handbook", wrong, VECTORS))
    assert bad.cited < 0.1
    assert bad.recall_at_1 < 0.1
    assert bad.declined < 0.2  # what answers was not left out


def test_a_citation_must_hold_the_wanted_words(bases: KnowledgeBases) -> None:
    question, document = "How long may I use an air purifier and still return it?", "en/returns.md"
    right = Question(question, document, "you may use them for 14 days and still return them")
    wrong = Question(question, document, "Return postage is free for faulty products.")
    for asked, cited in ((right, 1.0), (wrong, 0.0), (Question(question, document), 1.0)):
        assert asyncio.run(measure_base(bases, "handbook", [asked], VECTORS)).cited == cited
