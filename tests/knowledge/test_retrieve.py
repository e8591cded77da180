from __future__ import annotations

from itertools import pairwise

import pytest

from baigong.errors import InvalidInput, NotFound
from baigong.knowledge.bases import KnowledgeBases
from baigong.knowledge.chunk import Chunking
from baigong.knowledge.retrieve import Retriever
from baigong.types import Passage, Retrieve
from tests.knowledge.bases import open_bases, search, sync
from tests.knowledge.files import HashEmbedder

PARTS = ("阀门", "轴承", "密封圈", "电机", "叶轮", "滤网", "法兰", "传感器")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBases:
    """Two hundred documents that resemble each other, and a few that tests ask for."""
    folder = tmp_path_factory.mktemp("sources")
    for number in range(200):
        part = PARTS[number % len(PARTS)]
        text = f"{part}的安装说明第{number}号。请按照步骤安装{part}，并检查压力。订单 AB-{1000 + number}。"
        (folder / f"part-{number}.txt").write_text(text, encoding="utf-8")
    (folder / "pump.md").write_text(
        "# 水泵手册\n\n## 温度\n\n水泵的最高工作温度是八十五度。\n\n## Warranty\n\nThe warranty covers two years.",
        encoding="utf-8",
    )
    (folder / "copy.txt").write_text("The office opens at nine.", encoding="utf-8")
    (folder / "copy2.txt").write_text("The office  opens at nine.\n", encoding="utf-8")
    long = "\n\n".join(f"Section {n} tells about turbines and their blades." for n in range(40))
    (folder / "long.txt").write_text(long, encoding="utf-8")
    store = open_bases(tmp_path_factory.mktemp("store"))
    chunking = Chunking(characters=200, unspaced_characters=60)
    sync(store, "words", [folder], chunking=chunking)
    sync(store, "both", [folder], chunking=chunking, embed=HashEmbedder())
    return store


def best(store: KnowledgeBases, question: str) -> Passage:
    return search(store, "words", question, 3)[0]


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("水泵最高能在多少度下工作？", "pump.md"),
        ("温度", "pump.md"),
        ("How long is the WARRANTY?", "pump.md"),
        ("AB-1042", "part-42.txt"),
        ("订单ＡＢ－１０４２在哪里", "part-42.txt"),
        ("turbine blade", "long.txt"),
    ],
)
def test_the_right_passage_is_first(store: KnowledgeBases, question: str, document: str) -> None:
    assert best(store, question).document == document


def test_a_heading_finds_what_stands_under_it(store: KnowledgeBases) -> None:
    found = best(store, "水泵手册")
    assert (found.document, found.title) == ("pump.md", "水泵手册 › 温度")


def test_spans_are_exact_and_scores_fall(store: KnowledgeBases) -> None:
    for question in ("水泵的温度", "turbines", "检查压力"):
        found = search(store, "words", question, 10)
        for passage in found:
            text = store.text(passage.knowledge, passage.document).encode()
            assert text[passage.start : passage.end].decode() == passage.text
            assert passage.text == passage.text.strip()
        scores = [passage.score for passage in found]
        assert scores == sorted(scores, reverse=True)


def test_equal_texts_come_once(store: KnowledgeBases) -> None:
    found = search(store, "words", "when does the office open", 5)
    assert len([passage for passage in found if "office" in passage.text]) == 1


def test_touching_chunks_come_as_one_passage(store: KnowledgeBases) -> None:
    found = search(store, "words", "turbines", 10)
    spans = sorted((passage.start, passage.end) for passage in found)
    assert any(end - start > 200 for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("limit", [-1, 0, 1, 3, 1000])
def test_limit_bounds_the_answer(store: KnowledgeBases, limit: int) -> None:
    assert len(search(store, "words", "检查压力", limit)) <= max(0, limit)


@pytest.mark.parametrize(
    "question",
    ["", " ", "。！？", '"', "'", '"AND', "AND", "OR NOT", "-", "*", "a*", "(", "[]{}^~", "\\", "x:y",
     "水" * 20_000, "word " * 20_000, "\x00", "\ud800", "🙂", "' OR 1=1 --", "%_"],
)  # fmt: skip
def test_odd_questions_never_raise(store: KnowledgeBases, question: str) -> None:
    for name, embed in (("words", None), ("both", HashEmbedder())):
        assert isinstance(search(store, name, question, 3, embed=embed), list)


def test_vectors_find_what_words_miss(store: KnowledgeBases) -> None:
    question = "warrenty covrs"
    assert search(store, "both", question, 3) == []
    found = search(store, "both", question, 3, embed=HashEmbedder())
    assert "warranty" in found[0].text


def test_vectors_do_not_displace_an_exact_code(store: KnowledgeBases) -> None:
    found = search(store, "both", "AB-1042", 3, embed=HashEmbedder())
    assert found[0].document == "part-42.txt"


class Other(HashEmbedder):
    name = "other"


def test_another_embedder_is_refused(store: KnowledgeBases) -> None:
    with pytest.raises(InvalidInput, match="hash-3"):
        search(store, "both", "warranty", embed=Other())
    assert search(store, "words", "warranty", embed=Other())


@pytest.mark.anyio
async def test_retriever_is_a_retrieve(store: KnowledgeBases) -> None:
    for name, embed in (("words", None), ("both", HashEmbedder())):
        retrieve: Retrieve = Retriever(store, name, embed and (lambda _, found=embed: found))
        (found,) = await retrieve("AB-1042", 1)
        assert (found.document, found.knowledge) == ("part-42.txt", store.get(name).ref)
    with pytest.raises(NotFound):
        await Retriever(store, "nope")("x", 1)
