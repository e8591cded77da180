from __future__ import annotations

import codecs
from collections.abc import Iterator

import psutil
import pytest

from baigong.errors import Problem
from baigong.knowledge.formats import FORMATS, File, format_of
from baigong.knowledge.formats.encoding import decode
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


TRADITIONAL = (
    "水泵的最高工作溫度是八十五度，超過時應當立即停機檢查。",
    "請於收到通知後三十日內辦理變更登記，逾期者處以罰鍰。",
    "退貨須知",
    "他說：「明天會下雨嗎？」",
)
SIMPLIFIED = (
    "请于收到通知后三十日内办理变更登记，逾期者处以罚款。",
    "阀门",
    "电话：010-1234-5678，传真",
    "他说：“明天会下雨吗？”",
)


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("big5", TRADITIONAL),
        ("gb18030", SIMPLIFIED),
        ("gb18030", TRADITIONAL[:2]),
        ("shift_jis", ("ポンプの最高使用温度は八十五度です。", "お問い合わせ先")),
        ("euc_jp", ("ポンプの最高使用温度は八十五度です。", "お問い合わせ先")),
        ("euc_kr", ("펌프의 최고 작동 온도는 팔십오 도입니다.", "고객 센터 전화번호")),
        ("cp1252", ("Le général a mangé à Orléans.", "Größe: 12 µm", "“Quotes” – and dashes")),
        ("cp1251", ("Насос должен быть остановлен", "Возврат товара")),
        ("utf-16-le", ("Pump manual 泵",)),
        ("utf-32-be", ("Pump manual 泵",)),
    ],
)
def test_an_encoding_is_told_by_the_shape_of_its_bytes(
    encoding: str, texts: tuple[str, ...]
) -> None:
    for text in (*texts, "\n".join(texts)):
        assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5"])
def test_a_file_that_was_cut_within_a_letter_is_read(encoding: str) -> None:
    text = f"{TRADITIONAL[0]}\n" * 20 + "停"
    decoded = decode(text.encode(encoding)[:-1])
    assert decoded == text[:-1] + "\ufffd"


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
        ("a.docx", b"PK", "not a Word file"),
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
    assert "takes longer" in outcome.message


def test_five_thousand_pages_each_of_which_is_a_step(parser: Parser) -> None:
    pdf = make_pdf([[f"Page number {number}"] for number in range(5000)])
    steps: list[None] = []
    FORMATS[".pdf"].read(File("long.pdf", pdf, lambda: steps.append(None)))
    assert len(steps) == 5000
    document = parse(parser, "long.pdf", pdf)
    assert len(document.pages) == 5000
    last = document.pages[-1]
    assert document.text.encode()[last.start : last.end] == b"Page number 4999"


def test_many_files_at_once_each_with_its_number() -> None:
    files = [(f"{n}.pdf", make_pdf([[f"file {n}"]]), None) for n in range(9)]
    files[4] = ("4.pdf", b"%PDF-1.4 broken", None)
    with Parser(processes=2) as parser:
        found = dict(parser.parse_many(iter(files)))
    assert sorted(found) == list(range(9))
    assert isinstance(found[4], Problem)
    texts = {n: d.text for n, d in found.items() if isinstance(d, Document)}
    assert texts == {n: f"file {n}" for n in range(9) if n != 4}


def test_files_are_taken_no_further_ahead_than_twice_the_processes() -> None:
    taken = 0

    def files() -> Iterator[tuple[str, bytes, None]]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield f"{number}.txt", b"words", None

    with Parser(processes=2) as parser:
        for given, _ in enumerate(parser.parse_many(files()), start=1):
            assert taken - given < 2 * 2
            if given == 20:
                break
    assert taken < 25


def test_the_next_file_is_parsed_after_one_that_ended_the_process() -> None:
    others = psutil.Process().children()
    with Parser() as parser:
        parse(parser, "a.pdf", make_pdf([["one"]]))
        for child in psutil.Process().children():
            if child not in others:
                child.kill()
        outcome = parser.parse("b.pdf", make_pdf([["two"]]))
        assert isinstance(outcome, Problem)
        assert outcome.file == "b.pdf" and "ended the parser" in outcome.message
        assert parse(parser, "c.pdf", make_pdf([["three"]])).text == "three"


@pytest.mark.parametrize(
    ("path", "data", "suffix"),
    [
        ("report", make_pdf([["found"]]), None),
        ("page", b"<!DOCTYPE html><p>found</p>", None),
        ("index.php", b"<p>found</p>", ".html"),
        ("notes", b"found", ".txt"),
    ],
)
def test_a_kind_is_told_by_hint_or_content(
    parser: Parser, path: str, data: bytes, suffix: str | None
) -> None:
    outcome = parser.parse(path, data, suffix)
    assert isinstance(outcome, Document)
    assert outcome.text == "found"


def test_the_name_goes_before_the_hint() -> None:
    assert format_of("a.pdf", ".html") == FORMATS[".pdf"]
    assert format_of("a.bin", None, b"\0\1") is None
