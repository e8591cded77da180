"""A title that a program wrote is shown and not searched for."""

from __future__ import annotations

from pathlib import Path

import pytest

from baigong.knowledge.chunk import chunk
from baigong.knowledge.formats import Document
from baigong.knowledge.titles import is_telling
from tests.knowledge.bases import open_bases, search, sync


@pytest.mark.parametrize(
    "title",
    ["", "7", "0000320193-23-000006", "550e8400-e29b-41d4-a716-446655440000", "9f86d081884c7d65",
     "Microsoft Word - x.doc", "final v2.docx", "a.indd", "untitled", "Untitled 3", "无标题", "IMG_2041", "scan 0007", "Slide 1", "演示文稿1"],
)  # fmt: skip
def test_titles_without_words(title: str) -> None:
    assert not is_telling(title)


@pytest.mark.parametrize(
    "title",
    ["Annual report 2023", "10-K of 2023-11-02, filed", "AB-1234", "Q3", "水泵", "2023年报",
     "Documents of the board", "Größe", "scan of the contract", "Book of pumps", "node.js", "No. 4.2"],
)  # fmt: skip
def test_titles_with_words(title: str) -> None:
    assert is_telling(title)


def test_only_headings_are_indexed_below_such_a_title() -> None:
    document = Document("1.md", "0000320193-23-000006", "# Oil\n\nChange it.", is_markdown=True)
    [piece] = chunk(document)
    assert piece.title == "0000320193-23-000006 › Oil"
    assert piece.indexed == "Oil\nChange it."


def test_the_file_name_is_shown_and_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "0000320193-23-000006.txt").write_text("Pumps want oil.")
    bases = open_bases(tmp_path / "store")
    sync(bases, "kb", [folder])
    [found] = search(bases, "kb", "oil")
    assert found.title == "0000320193-23-000006"
    assert search(bases, "kb", "000006") == []
