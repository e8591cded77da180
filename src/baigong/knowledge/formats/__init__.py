"""How each kind of file becomes text. A new kind is a file in this folder and a row in `FORMATS`.

The rows marked `isolated` run in a process of their own (worker.py): their libraries parse
untrusted binary or markup input. Offsets are bytes of the UTF-8 text.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import PurePosixPath

import msgspec

from baigong.knowledge.formats.document import Document, File, Span, Unreadable

__all__ = ["FORMATS", "Document", "File", "Format", "Span", "Unreadable", "format_of"]


class Format(msgspec.Struct, frozen=True):
    """A kind of file. `module` is the file here whose `read` makes a document of one.

    It is imported when the first file of that kind comes: some libraries take a second to load.
    """

    module: str
    isolated: bool = True

    def read(self, file: File) -> Document:
        """The document of a file.

        Raises:
            Unreadable: it holds no text that we can get at.
        """
        document: Document = import_module(f"{__name__}.{self.module}").read(file)
        return document


_ROWS = (
    (Format("text", isolated=False), ".txt .text .rst .log"),
    (Format("markdown", isolated=False), ".md .markdown"),
    (Format("delimited"), ".csv .tsv"),
    (Format("records"), ".json .jsonl .ndjson"),
    (Format("html"), ".html .htm .xhtml"),
    (Format("pdf"), ".pdf"),
    (Format("docx"), ".docx .docm .dotx"),
    (Format("pptx"), ".pptx .pptm .ppsx"),
    (Format("spreadsheet"), ".xlsx .xlsm .xlsb .xls .ods"),
    (Format("epub"), ".epub"),
    (Format("mail"), ".eml"),
    (Format("image"), ".png .jpg .jpeg .tif .tiff"),
)
FORMATS: dict[str, Format] = {suffix: row for row, suffixes in _ROWS for suffix in suffixes.split()}


def format_of(path: str, suffix: str | None = None, data: bytes = b"") -> Format | None:
    """The row for a file: by the suffix of its name, else by `suffix`, else by how `data` begins.

    `suffix` is what a connector holds the file for, e.g. ".html".
    """
    named = FORMATS.get(PurePosixPath(path).suffix.lower())
    hinted = FORMATS.get((suffix or "").lower())
    return named or hinted or FORMATS.get(_suffix_by_content(data))


_OPENINGS = (
    (re.compile(rb"%PDF-\d"), ".pdf"),
    (
        re.compile(
            rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html)\b", re.I | re.S
        ),
        ".html",
    ),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"II\*\0|MM\0\*"), ".tif"),
    (re.compile(rb"PK\x03\x04.{26}mimetypeapplication/epub\+zip", re.S), ".epub"),
)
_MEMBERS = (  # names that stand openly in the directory of a zip archive, or in an OLE file
    (b"PK\x03\x04", b"word/document.xml", ".docx"),
    (b"PK\x03\x04", b"ppt/presentation.xml", ".pptx"),
    (b"PK\x03\x04", b"xl/workbook.", ".xlsx"),
    (b"PK\x03\x04", b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", ".ods"),
    (b"\xd0\xcf\x11\xe0", "Workbook".encode("utf-16-le"), ".xls"),
)


def _suffix_by_content(data: bytes) -> str:
    """The suffix for bytes that cannot be mistaken, else nothing."""
    opening = data[:1024].removeprefix(b"\xef\xbb\xbf")
    for pattern, suffix in _OPENINGS:
        if pattern.match(opening):
            return suffix
    for mark, member, suffix in _MEMBERS:
        if data.startswith(mark) and member in data:
            return suffix
    return ""
