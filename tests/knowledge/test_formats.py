from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from email.message import EmailMessage

import docx
import openpyxl
import pptx
import pytest
from PIL import Image, ImageDraw, ImageFont
from pptx.util import Inches

from baigong.knowledge.formats import Document, File, format_of


def read(path: str, data: bytes) -> Document:
    row = format_of(path)
    assert row is not None
    return row.read(File(path, data))


def saved(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file)  # type: ignore[attr-defined]
    return file.getvalue()


# --- Word ----------------------------------------------------------------------------------------


def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "泵 Manual"
    document.core_properties.author = "A. Writer"
    document.core_properties.modified = datetime(2024, 1, 31, 12, tzinfo=UTC)
    document.add_heading("Limits", 1)
    document.add_paragraph("最高 85 度。")
    document.add_heading("Parts", 2)
    document.add_paragraph("first", style="List Bullet")
    grid = document.add_table(rows=2, cols=3)
    for cell, text in zip(grid.rows[0].cells, ("Part", "Code", "Price"), strict=True):
        cell.text = text
    for cell, text in zip(grid.rows[1].cells, ("Seal | big", "AB-12", "(1,234)"), strict=True):
        cell.text = text
    document.add_paragraph("The end.")
    return saved(document)


def test_word_keeps_headings_lists_and_tables_in_order() -> None:
    document = read("a.docx", word())
    assert document.text.split("\n\n") == [
        "# Limits",
        "最高 85 度。",
        "## Parts",
        "- first",
        "| Part | Code | Price |\n| --- | --- | --- |\n| Seal \\| big | AB-12 | (1,234) |",
        "The end.",
    ]
    assert document.is_markdown


def test_word_tells_title_author_and_time() -> None:
    document = read("a.docx", word())
    assert document.title == "泵 Manual"
    assert document.metadata == {"author": "A. Writer"}
    assert document.published_at == datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()


def with_part(data: bytes, name: str, change: tuple[bytes, bytes]) -> bytes:
    """An archive with bytes replaced in one of its entries."""
    old = zipfile.ZipFile(io.BytesIO(data))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            body = old.read(entry)
            if entry == name:
                assert change[0] in body
                body = body.replace(*change)
            new.writestr(entry, body)
    return file.getvalue()


def test_word_leaves_out_what_was_deleted() -> None:
    run = b"<w:r><w:t>The end.</w:t></w:r>"
    changed = (
        b'<w:del w:id="1"><w:r><w:delText>old</w:delText></w:r></w:del>'
        b'<w:ins w:id="2"><w:r><w:t>new</w:t></w:r></w:ins>'
    )
    text = read("a.docx", with_part(word(), "word/document.xml", (run, changed))).text
    assert text.endswith("new")
    assert "old" not in text


# --- PowerPoint ----------------------------------------------------------------------------------


def slides() -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.placeholders[1].text = "Body of one\nsecond line"
    slide.shapes.title.text = "标题 One"
    slide.notes_slide.notes_text_frame.text = "Say this."
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Figures"
    grid = slide.shapes.add_table(2, 2, 0, 0, Inches(4), Inches(1)).table
    for at, text in enumerate(("Year", "Sales", "2024", "1,234")):
        grid.cell(at // 2, at % 2).text = text
    return saved(deck)


def test_slides_are_pages_under_their_titles() -> None:
    document = read("a.pptx", slides())
    text = document.text.encode()
    pages = [text[page.start : page.end].decode() for page in document.pages]
    assert pages == [
        "# 标题 One\n\nBody of one\nsecond line\n\nSay this.",
        "# Figures\n\n| Year | Sales |\n| --- | --- |\n| 2024 | 1,234 |",
    ]
    assert document.title == "标题 One"


# --- spreadsheets --------------------------------------------------------------------------------


def sheet(rows: int = 2) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "销售"
    book.active.append(["Sales by month"])
    book.active.append([])
    book.active.append(["Month", "Sum", "Share", "Closed"])
    for number in range(rows):
        book.active.append([date(2024, 1, 1 + number % 28), 1234 + number, 0.5, True])
    hidden = book.create_sheet("Hidden")
    hidden.append(["secret", "secret"])
    hidden.sheet_state = "hidden"
    return saved(book)


def test_sheets_are_headings_and_rows_are_tables() -> None:
    assert read("a.xlsx", sheet()).text == (
        "# 销售\n\nSales by month\n\n"
        "| Month | Sum | Share | Closed |\n| --- | --- | --- | --- |\n"
        "| 2024-01-01 | 1234 | 0.5 | TRUE |\n| 2024-01-02 | 1235 | 0.5 | TRUE |"
    )


def test_a_large_sheet_is_cut_into_tables_under_its_header() -> None:
    text = read("a.xlsx", sheet(500)).text
    assert text.count("| Month | Sum | Share | Closed |\n| ---") == 3
    assert all(f"| {1234 + number} |" in text for number in range(500))


def test_an_open_document_spreadsheet_is_one_too() -> None:
    names = "urn:oasis:names:tc:opendocument:xmlns:"
    cell = '<table:table-cell office:value-type="string"><text:p>%s</text:p></table:table-cell>'
    rows = "".join(
        f"<table:table-row>{''.join(cell % text for text in row)}</table:table-row>"
        for row in (("Part", "Code"), ("密封圈", "AB-1"))
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", f'<manifest xmlns="{names}manifest:1.0"/>')
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{names}office:1.0" '
            f'xmlns:table="{names}table:1.0" xmlns:text="{names}text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="T">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    table = "| Part | Code |\n| --- | --- |\n| 密封圈 | AB-1 |"
    assert read("a.ods", file.getvalue()).text == f"# T\n\n{table}"
    assert format_of("unnamed", None, file.getvalue()) == format_of("a.ods")


# --- delimited text ------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_delimiter_and_encoding_are_found(delimiter: str, encoding: str) -> None:
    rows = ["部件 编号 价格 说明", 'Seal AB-1 "1,5; 2" 密封圈', "Ring AB-2 3 活塞环"]
    text = "\r\n".join(row.replace(" ", delimiter).replace(f";{delimiter}", "; ") for row in rows)
    found = read("a.csv", text.encode(encoding)).text
    assert found.startswith("| 部件 | 编号 | 价格 | 说明 |\n| --- |")
    assert found.endswith("| Ring | AB-2 | 3 | 活塞环 |")


def test_a_field_over_several_lines_is_one_cell() -> None:
    text = read("a.csv", b'name,note\nSeal,"two\nlines"\n').text
    assert text.endswith("| Seal | two lines |")


def test_numbers_alone_are_no_header() -> None:
    assert read("a.csv", b"1,2\n3,4\n").text.startswith("| 1 | 2 |\n| --- | --- |\n| 1 | 2 |\n| 3")


def test_rows_of_long_texts_become_records() -> None:
    answer = "Send it back within thirty days. " * 10
    text = read("a.csv", f"question,answer,id\nHow to return?,{answer},7\n".encode()).text
    assert text == f"## How to return?\n\n{answer.strip()}\n\nid: 7"


# --- JSON ----------------------------------------------------------------------------------------


def test_objects_with_title_and_text_become_sections() -> None:
    rows = [{"title": "泵", "text": "85 度。", "id": 7}, {"title": "B", "text": "Two."}]
    expected = "## 泵\n\n85 度。\n\nid: 7\n\n## B\n\nTwo."
    assert read("a.json", json.dumps(rows).encode()).text == expected
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read("a.jsonl", lines.encode()).text == expected


def test_other_objects_keep_the_path_of_keys_to_each_value() -> None:
    value = {"pump": {"limit": 85, "codes": ["A", "B"], "none": None}, "parts": [{"n": 1.5}]}
    text = read("a.json", json.dumps(value).encode()).text
    assert text == "pump.limit: 85\npump.codes: A, B\nparts.1.n: 1.5"


# --- HTML ----------------------------------------------------------------------------------------


def test_html_shows_what_a_reader_sees() -> None:
    page = b"""<html><head><title>Manual</title><meta name="author" content="A. Writer">
    <meta property="article:published_time" content="2024-01-31T12:00:00+00:00">
    <style>.x{}</style></head><body><nav>Home</nav><h1>Pump</h1><!-- comment -->
    <p hidden>no1</p><p style="display: none">no2</p><script>no3</script><noscript>no4</noscript>
    <table><thead><tr><th rowspan=2>Part</th><th colspan=2>Price</th></tr><tr><th>2023</th><th>2024</th></tr>
    </thead><tr><td rowspan=2>Seal<br>big</td><td>$</td><td>(1,234)</td></tr><tr><td>5|6</td><td>7</td></tr></table>
    <ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul><pre>a = 1
  b</pre><footer>imprint</footer></body></html>"""
    document = read("a.html", page)
    assert document.text.split("\n\n") == [
        "# Pump",
        "| Part | Price 2023 | Price 2024 |\n| --- | --- | --- |\n"
        "| Seal big |  | $ (1,234) |\n| Seal big | 5\\|6 | 7 |",
        "- one\n  - inner\n- two",
        "```\na = 1\n  b\n```",
    ]
    assert document.title == "Manual"
    assert document.metadata == {"author": "A. Writer"}
    assert document.published_at == datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()


def test_a_menu_is_left_out_though_the_content_holds_a_table() -> None:
    words = "You may return what you bought within thirty days of delivery, if it is unused. "
    page = f"""<html><body><div class="menu"><ul><li><a href="/">Home</a><li><a href="/b">Contact</a></ul>
    </div><div class="content"><h1>Returns</h1><p>{words * 3}</p>
    <table><tr><th>Country<th>Days</tr><tr><td>France<td>14</tr><tr><td>Spain<td>30</tr></table>
    <p>{words * 2}</p></div></body></html>"""
    text = read("a.html", page.encode()).text
    table = "| Country | Days |\n| --- | --- |\n| France | 14 |\n| Spain | 30 |"
    assert text.split("\n\n") == ["# Returns", (words * 3).strip(), table, (words * 2).strip()]


def test_a_layout_table_is_no_table() -> None:
    page = b"<table><tr><td>menu</td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    assert "|" not in read("a.html", b"<h1>T</h1>" + page).text


# --- books ---------------------------------------------------------------------------------------


def book(chapters: dict[str, str], extra: dict[str, str] | None = None) -> bytes:
    items = "".join(
        f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>'
        for name in sorted(chapters)
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>水泵之书</dc:title>'
        "<dc:creator>A. Writer</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        **{f"OEBPS/{name}.xhtml": body for name, body in chapters.items()},
        **(extra or {}),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def chapter(title: str, body: str) -> str:
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>"


def test_chapters_in_reading_order_under_headings() -> None:
    chapters = {"b": chapter("x", "<h1>Start</h1><p>One.</p>"), "a": chapter("尾声", "<p>Two.</p>")}
    document = read("a.epub", book(chapters))
    assert document.text == "# Start\n\nOne.\n\n# 尾声\n\nTwo."
    assert (document.title, document.metadata) == ("水泵之书", {"author": "A. Writer"})
    assert format_of("unnamed", None, book(chapters)) == format_of("a.epub")


# --- mail ----------------------------------------------------------------------------------------


def mail() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "报价 Offer"
    message["From"] = "A. Writer <a@example.com>"
    message["To"] = "b@example.com"
    message["Date"] = "Wed, 31 Jan 2024 12:00:00 +0000"
    message.set_content("plain body")
    return message


def test_mail_headers_are_metadata_and_stand_above_the_body() -> None:
    document = read("a.eml", mail().as_bytes())
    assert document.title == "报价 Offer"
    assert document.metadata["subject"] == "报价 Offer"
    assert document.metadata["sender"] == "A. Writer <a@example.com>"
    assert document.published_at == datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()
    assert document.text.startswith("# 报价 Offer\n\nsender: A. Writer")
    assert document.text.endswith("plain body")


def test_mail_in_html_keeps_tables_and_attachments_are_named_and_read() -> None:
    message = mail()
    rows = "<tr><td>Part</td><td>Price</td></tr><tr><td>Seal</td><td>12</td></tr>"
    message.add_alternative(f"<p>rich body</p><table>{rows}</table>", subtype="html")
    message.add_attachment(
        "附件文字".encode("gb18030"), maintype="text", subtype="plain", filename="n.txt"
    )
    message.add_attachment(b"\0\1", maintype="application", subtype="zip", filename="资料.zip")
    text = read("a.eml", message.as_bytes()).text
    assert "plain body" not in text
    assert "rich body\n\n| Part | Price |\n| --- | --- |\n| Seal | 12 |" in text
    assert "Attachments: n.txt, 资料.zip" in text
    assert text.endswith("## n.txt\n\n附件文字")


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "kind"), [("scan.png", "PNG"), ("scan.pdf", "PDF")])
def test_pictures_are_read_where_ocr_is_installed(path: str, kind: str) -> None:
    pytest.importorskip("rapidocr")
    picture = Image.new("RGB", (1200, 700), "white")
    draw = ImageDraw.Draw(picture)
    rows = [("", "2022", "2021"), ("Products", "63,355", "63,948"), ("Total", "82,959", "81,434")]
    for number, row in enumerate(rows):
        for left, text in zip((60, 600, 900), row, strict=True):
            draw.text((left, 140 + 70 * number), text, "black", ImageFont.load_default(36))
    file = io.BytesIO()
    picture.save(file, kind)
    document = read(path, file.getvalue())
    assert "| Products | 63,355 | 63,948 |" in document.text
    assert len(document.pages) == 1
