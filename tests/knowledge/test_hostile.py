"""Files that are broken or mean harm: a problem that says why, and the next file is read."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zipfile
from collections.abc import Iterator

import pytest

from baigong.errors import Problem
from baigong.knowledge.formats import File, Unreadable, format_of
from baigong.knowledge.formats.archive import MAX_INFLATED_BYTES, OLE
from baigong.knowledge.parse import Document, Parser
from tests.knowledge.files import make_pdf
from tests.knowledge.test_formats import book, chapter, mail, sheet, slides, with_part, word

OFFICE = {
    "a.docx": (word, "word/document.xml"),
    "a.pptx": (slides, "ppt/slides/slide1.xml"),
    "a.xlsx": (sheet, "xl/worksheets/sheet1.xml"),
    "a.epub": (lambda: book({"a": chapter("t", "<p>Text.</p>")}), "OEBPS/a.xhtml"),
}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def refused(parser: Parser, path: str, data: bytes) -> str:
    """Why a file is refused. The parser must be able to go on."""
    outcome = parser.parse(path, data)
    assert isinstance(outcome, Problem), outcome
    assert outcome.file == path
    assert isinstance(parser.parse("next.pdf", make_pdf([["next"]])), Document)
    return outcome.message


def declared(data: bytes, name: str, size: int) -> bytes:
    """An archive that declares another inflated size for one of its entries."""
    changed = bytearray(data)
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        length = struct.unpack_from("<H", data, at + 28)[0]
        if data[at + 46 : at + 46 + length] == name.encode():
            struct.pack_into("<I", changed, at + 24, size)
            local = struct.unpack_from("<I", data, at + 42)[0]
            struct.pack_into("<I", changed, local + 22, size)
        at += 46
    assert changed != data
    return bytes(changed)


@pytest.mark.parametrize("path", OFFICE)
def test_an_archive_that_declares_too_much_is_not_inflated(parser: Parser, path: str) -> None:
    make, name = OFFICE[path]
    why = refused(parser, path, declared(make(), name, MAX_INFLATED_BYTES + 1))
    assert "unpacks to more than" in why


@pytest.mark.parametrize("path", OFFICE)
def test_an_archive_that_declares_too_little_is_found_out(parser: Parser, path: str) -> None:
    make, name = OFFICE[path]
    assert "not as long as it declares" in refused(parser, path, declared(make(), name, 10))


@pytest.mark.parametrize("path", OFFICE)
def test_an_archive_with_a_corrupt_member_names_it(parser: Parser, path: str) -> None:
    make, name = OFFICE[path]
    data = bytearray(make())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo(name)
    start = entry.header_offset + 30 + len(name)
    data[start + 5 : start + entry.compress_size] = bytes(entry.compress_size - 5)
    assert name in refused(parser, path, bytes(data))


@pytest.mark.parametrize("path", OFFICE)
def test_an_archive_that_is_cut_off_says_so(parser: Parser, path: str) -> None:
    data = OFFICE[path][0]()
    assert "cut off" in refused(parser, path, data[: len(data) // 2])


@pytest.mark.parametrize("path", ["a.docx", "a.xlsx"])
def test_an_archive_of_archives_stays_closed(parser: Parser, path: str) -> None:
    data = io.BytesIO(OFFICE[path][0]())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("inner.docx", word())
    outcome = parser.parse(path, data.getvalue())
    assert isinstance(outcome, Document)
    assert ("AB-12" in outcome.text) is (path == "a.docx")


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">'
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)


def test_entities_of_xml_are_not_expanded(parser: Parser) -> None:
    change = (b"<w:document ", BOMB.encode() + b"<w:document ")
    data = with_part(word(), "word/document.xml", change)
    data = with_part(data, "word/document.xml", (b"The end.", b"The end.&i;"))
    assert "ntit" in refused(parser, "a.docx", data)


def test_outside_entities_are_not_read(parser: Parser) -> None:
    entity = b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]><w:document '
    data = with_part(word(), "word/document.xml", (b"<w:document ", entity))
    data = with_part(data, "word/document.xml", (b"The end.", b"[&f;]"))
    assert "declares entities" in refused(parser, "a.docx", data)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("deep.html", b"<div>" * 200_000 + b"x"),
        ("deep.json", b"[" * 200_000),
        ("deep.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        (
            "deep.eml",
            b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n"
            + b"--b\nContent-Type: message/rfc822\n\nSubject: x\n" * 5_000,
        ),
        ("wide.csv", b"," * 3_000_000),
    ],
)
def test_depth_and_width_do_not_end_the_build(parser: Parser, path: str, data: bytes) -> None:
    assert isinstance(parser.parse(path, data), Problem | Document)
    assert isinstance(parser.parse("next.pdf", make_pdf([["next"]])), Document)


def test_a_table_that_claims_to_be_wide_stays_small(parser: Parser) -> None:
    cells = (
        b'<table><tr><td colspan="999999999">a<td>b</tr><tr><td rowspan="99999999">c<td>d</table>'
    )
    outcome = parser.parse("a.html", cells)
    assert isinstance(outcome, Document)
    assert len(outcome.text) < 10_000


def locked_pdf() -> bytes:
    """A PDF that no empty password opens."""
    lock = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<00> <00>] "
    lock %= (b"11" * 32, b"22" * 32)
    return make_pdf([["x"]]).replace(b"trailer << ", b"trailer << " + lock)


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("a.pdf", make_pdf([["x"]])[:200], "not a whole PDF"),
        ("a.pdf", locked_pdf(), "password"),
        ("a.docx", OLE + bytes(600), "of the old kind"),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
        ("a.xlsx", OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
        ("a.docx", b"\0" * 512, "not a Word file"),
        ("a.xls", OLE + bytes(600) + "Workbook".encode("utf-16-le"), "not a whole spreadsheet"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("a.json", b"nonsense", "not JSON"),
        ("a.eml", b"\x89PNG no headers", "not a mail"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "baigong[ocr]|not a whole picture"),
    ],
)
def test_a_broken_file_says_what_is_wrong(parser: Parser, path: str, data: bytes, why: str) -> None:
    message = refused(parser, path, data)
    assert any(part in message for part in why.split("|")), message


SAMPLES = {
    **{path: make for path, (make, _) in OFFICE.items()},
    "a.pdf": lambda: make_pdf([["Some words", "of a page"]], outline="Some words"),
    "a.eml": lambda: mail().as_bytes(),
    "a.html": lambda: b"<h1>T</h1><table><tr><td>a<td>b</tr><tr><td>1<td colspan=2>2</table>",
    "a.jsonl": lambda: b'{"title": "a", "text": "b"}\n{"c": [1, {"d": null}]}\n',
    "a.csv": lambda: b'a,b\n"x ""y""",1\n',
}


@pytest.mark.parametrize("path", SAMPLES)
def test_any_change_of_bytes_is_read_or_refused(path: str) -> None:
    data = SAMPLES[path]()
    row = format_of(path)
    assert row is not None
    draw = random.Random(path)
    for _ in range(100):
        changed = bytearray(data)
        for _ in range(draw.choice((1, 3, 20))):
            at = draw.randrange(len(changed) + 1)
            changed[at : at + draw.choice((0, 1, 8))] = draw.randbytes(draw.choice((0, 1, 4)))
        with contextlib.suppress(Unreadable):
            assert row.read(File(path, bytes(changed))).path == path


def test_a_book_with_locked_chapters_is_refused(parser: Parser) -> None:
    lock = {
        "META-INF/encryption.xml": "<encryption><EncryptedData><CipherData>"
        '<CipherReference URI="OEBPS/a.xhtml"/></CipherData></EncryptedData></encryption>'
    }
    assert "protected" in refused(parser, "a.epub", book({"a": chapter("t", "x")}, lock))
