from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baigong.knowledge.chunk import Chunk, Chunking, chunk
from baigong.knowledge.formats import Document, Span

SMALL = Chunking(characters=60, unspaced_characters=24)
MANUAL = """# 手册

前言在此。

## 温度

水泵的最高工作温度是八十五度。超过时应当立即停机检查。

### Alarm 📟

The alarm sounds at 80 degrees. It stops by itself when the pump has cooled down.

```
# not a heading
```

Setext
------

Last words, and some more of them so that they stand alone.
"""


def titled(chunks: list[Chunk], words: str) -> str:
    return next(piece.title for piece in chunks if words in piece.text)


def assert_tiles(text: str, chunks: list[Chunk]) -> None:
    data = text.encode()
    for piece in chunks:
        assert data[piece.start : piece.end].decode() == piece.text
    assert "".join(piece.text for piece in chunks) == text


@pytest.mark.parametrize("is_markdown", [True, False])
def test_spans_are_exact_and_tile_the_text(is_markdown: bool) -> None:
    chunks = chunk(Document("a.md", "手册", MANUAL, is_markdown=is_markdown), SMALL)
    assert len(chunks) > 3
    assert_tiles(MANUAL, chunks)


@given(st.text(alphabet="ab。 \n#`-温度📟=", max_size=300), st.booleans())
def test_any_text_is_tiled(text: str, is_markdown: bool) -> None:
    chunks = chunk(Document("a", "t", text, is_markdown=is_markdown), SMALL)
    if text.strip():
        assert_tiles(text, chunks)
    else:
        assert chunks == []


def test_a_chunk_stands_under_its_headings() -> None:
    chunks = chunk(Document("a.md", "手册", MANUAL, is_markdown=True), SMALL)
    assert titled(chunks, "前言") == "手册"
    assert titled(chunks, "最高工作温度") == "手册 › 温度"
    assert titled(chunks, "alarm sounds") == "手册 › 温度 › Alarm 📟"
    assert titled(chunks, "Last words") == "手册 › Setext"
    assert not any("not a heading" in piece.title for piece in chunks)


def test_a_heading_stays_with_what_it_heads() -> None:
    text = "# A\n\n## B\n\n" + "words and more words. " * 10
    first = chunk(Document("a.md", "A", text, is_markdown=True), SMALL)[0]
    assert first.title == "A › B"
    assert "words" in first.text


def test_chinese_chunks_hold_fewer_characters() -> None:
    english = chunk(Document("a.txt", "a", "one two three four. " * 50), SMALL)
    chinese = chunk(Document("a.txt", "a", "水泵的温度。" * 50), SMALL)
    assert max(len(piece.text) for piece in english) > 24
    assert max(len(piece.text) for piece in chinese) <= 24


def test_a_chunk_knows_its_page() -> None:
    pages = ["第一页。" * 8, "第二页。" * 8]
    size = len(pages[0].encode())
    spans = (Span(0, size), Span(size + 2, 2 * size + 2))
    chunks = chunk(Document("a.pdf", "a", "\n\n".join(pages), spans), SMALL)
    assert {piece.page for piece in chunks if "第一页" in piece.text} == {1}
    assert {piece.page for piece in chunks if "第二页" in piece.text} == {2}


def test_nothing_but_headings_is_still_bounded() -> None:
    text = "".join(f"# Heading {number}\n\n" for number in range(200))
    chunks = chunk(Document("a.md", "a", text, is_markdown=True), SMALL)
    assert max(len(piece.text) for piece in chunks) <= 2 * SMALL.characters + 20
    assert_tiles(text, chunks)


TABLE = "| Part | Price in 2024 |\n| --- | --- |\n" + "".join(
    f"| Seal number {number} | {number * 17} |\n" for number in range(40)
)


def test_a_table_over_several_chunks_is_led_by_its_header() -> None:
    text = f"# Prices\n\nAll in euros.\n\n{TABLE}\nThe end of it. {'More words. ' * 9}"
    chunks = chunk(Document("a.md", "Prices", text, is_markdown=True), SMALL)
    assert_tiles(text, chunks)
    inner = [piece for piece in chunks if piece.text.startswith("| Seal")]
    assert len(inner) > 10
    lead = "All in euros.\n\n| Part | Price in 2024 |\n| --- | --- |"
    assert {piece.lead for piece in inner} == {lead}
    assert all(piece.text.endswith("|\n") for piece in inner[:-1])
    assert all("Price in 2024" in piece.indexed for piece in inner)
    others = [piece for piece in chunks if piece not in inner]
    assert {piece.lead for piece in others} <= {"", "All in euros."}
    assert all(piece.indexed.endswith(piece.text.removeprefix("# Prices\n\n")) for piece in others)


def test_headings_are_indexed_once() -> None:
    text = "# Pumps\n\n## Left\n\n## Oil\n\nChange it.\n\n## Seals\n\nLook."
    first, *_ = chunk(Document("a.md", "Pumps", text, is_markdown=True), Chunking(40, 40))
    assert first.title == "Pumps › Oil"
    assert first.indexed.strip() == "Pumps › Oil\n## Left\nChange it."


def test_a_table_cut_from_its_caption_and_a_row_from_its_group_keep_them() -> None:
    """What was added up ends with its sum; text alone above a table is no caption after a heading."""
    rows = "".join(f"| Lamp of kind {n} | {n} |\n" for n in range(20))
    text = f"Sales of the shop\n(in coins)\n\n| | May |\n| --- | --- |\n| Lamps: | |\n{rows}| Total | 190 |\n| Rent | 12 |\n"
    chunks = chunk(Document("a.md", "Shop", text, is_markdown=True), Chunking(60, 60))
    assert_tiles(text, chunks)
    head = "Sales of the shop\n(in coins)\n\n| | May |\n| --- | --- |"
    assert {piece.lead for piece in chunks if piece.text.startswith("| Lamp of")} == {
        f"{head}\n| Lamps: | |"
    }
    assert {piece.lead for piece in chunks if piece.text.startswith("| Rent")} <= {head}
    assert {piece.lead for piece in chunks if piece.text.lstrip().startswith("| |")} <= {
        "Sales of the shop\n(in coins)",
        "",
    }


def test_bars_of_plain_text_are_no_table() -> None:
    chunks = chunk(Document("a.txt", "a", TABLE), SMALL)
    assert {piece.lead for piece in chunks} == {""}
