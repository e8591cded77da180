from __future__ import annotations

import codecs
from collections.abc import Iterator

import pytest

from baigong.errors import Problem
from baigong.knowledge.formats import decode
from baigong.knowledge.parse import Document, Parser
from tests.knowledge.files import make_pdf

CHINESE = "水泵的最高工作温度是八十五度。超过时应当停机。"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def parse(parser: Parser, path: str, data: bytes) -> Document:
    outcome = parser.parse(path, data)
    assert isinstance(outcome, Document), outcome
    return outcome


@pytest.mark.parametrize(
    "data",
    [
        CHINESE.encode(),
        codecs.BOM_UTF8 + CHINESE.encode(),
        CHINESE.encode("utf-16"),
        codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"),
        CHINESE.encode("utf-32"),
        CHINESE.encode("gb18030"),
    ],
)
def test_text_of_any_encoding(parser: Parser, data: bytes) -> None:
    assert parse(parser, "说明.txt", data) == Document("说明.txt", "说明", CHINESE)


def test_western_text_is_not_taken_for_chinese() -> None:
    assert decode("Le général a mangé à Orléans.".encode("cp1252")).startswith("Le général")


def test_line_ends_become_one_kind_and_controls_go(parser: Parser) -> None:
    assert parse(parser, "a.txt", b"one\r\ntwo\rthree\x07\x1b!").text == "one\ntwo\nthree!"


def test_markdown_title_is_from_front_matter_or_first_heading(parser: Parser) -> None:
    named = parse(parser, "a.md", b"---\ntitle: 'Pumps'\nx: 1\n---\n# One\n")
    assert (named.title, named.text, named.is_markdown) == ("Pumps", "# One\n", True)
    assert parse(parser, "a.md", "# 手册 #\n\n文".encode()).title == "手册"
    assert parse(parser, "x/a.md", b"text").title == "a"


def test_html_keeps_headings_and_tables_and_drops_scripts(parser: Parser) -> None:
    page = """<html><head><title>Manual</title><script>alert("evil")</script></head><body>
    <h1>手册</h1><p>Intro.</p><h2>温度 limits</h2><p>最高 85 度。</p>
    <table><tr><td>Seal</td><td>AB-1234</td></tr></table></body></html>"""
    document = parse(parser, "a.HTML", page.encode())
    assert "# 手册" in document.text
    assert "## 温度 limits" in document.text
    assert "最高 85 度。" in document.text
    assert "AB-1234" in document.text
    assert "evil" not in document.text


def test_html_in_the_encoding_it_declares(parser: Parser) -> None:
    page = f"<html><head><meta charset=gb18030></head><body><p>{CHINESE}</p></body></html>"
    assert CHINESE in parse(parser, "a.html", page.encode("gb18030")).text


def test_pdf_gives_pages_whose_spans_are_exact(parser: Parser) -> None:
    pdf = make_pdf([["Pump manual", "Page one."], [CHINESE[:15], "part AB-12"]], title="泵 Manual")
    document = parse(parser, "m.pdf", pdf)
    assert document.title == "泵 Manual"
    text = document.text.encode()
    pages = [text[page.start : page.end].decode() for page in document.pages]
    assert pages == ["Pump manual\nPage one.", f"{CHINESE[:15]}\npart AB-12"]


def test_pdf_words_broken_by_the_line_are_whole(parser: Parser) -> None:
    pdf = make_pdf([
        ["Maximum tempera-", "ture is 85"],
        [f"{'这是很长的一行文字' * 3}温", "度不可过高"],
    ])
    text = parse(parser, "m.pdf", pdf).text
    assert "temperature is 85" in text
    assert "温度不可过高" in text


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("a.pdf", b"%PDF-1.4 garbage", "not a whole PDF"),
        ("a.pdf", make_pdf([["x"]])[:400], "not a whole PDF"),
        ("a.pdf", make_pdf([[]]), "only pictures"),
        ("a.txt", b" \n ", "is empty"),
        ("a.txt", b"ab\0\1\2", "not text"),
        ("a.txt", b"\xff\xfe\x00", "not text in any encoding"),
        ("a.html", b"<html></html>", "Skipped|skipped"),
        ("a.docx", b"PK", "of a kind"),
    ],
)
def test_a_bad_file_is_a_problem_that_names_it(
    parser: Parser, path: str, data: bytes, why: str
) -> None:
    outcome = parser.parse(path, data)
    assert isinstance(outcome, Problem)
    assert outcome.file == path
    assert any(part in outcome.message for part in why.split("|")), outcome.message


def test_hostile_html_does_not_end_the_build(parser: Parser) -> None:
    outcome = parser.parse("deep.html", b"<div>" * 200_000 + b"x")
    assert isinstance(outcome, Problem | Document)
    assert parse(parser, "a.html", b"<html><body><p>still here</p></body></html>").text.strip()


def test_a_file_that_takes_too_long_is_given_up() -> None:
    with Parser(timeout_s=0.001) as parser:
        outcome = parser.parse("slow.pdf", make_pdf([["x"]]))
    assert isinstance(outcome, Problem)
    assert "took longer" in outcome.message
