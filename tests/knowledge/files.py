"""Files and an embedder that tests make for themselves."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

_FONTS = (
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    b"<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H "
    b"/DescendantFonts [5 0 R] >>",
    b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo "
    b"<< /Registry (Adobe) /Ordering (GB1) /Supplement 2 >> >>",
)
_PAGE = (
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Rotate %d /Contents %d 0 R "
    b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
)


def make_pdf(pages: Sequence[Sequence[str]], title: str = "", outline: str = "") -> bytes:
    """A PDF with these lines on its pages; lines that are not ASCII are set in Chinese.

    `outline` is the only entry of its table of contents and points to the first page.
    """
    contents = [b"BT 50 750 Td 16 TL " + b"".join(map(_line, lines)) + b"ET" for lines in pages]
    return pdf_of(contents, title, outline)


def pdf_of(
    contents: Sequence[bytes], title: str = "", outline: str = "", rotation: int = 0
) -> bytes:
    """A PDF of pages with these operators, Helvetica being F1."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", *_FONTS]
    kids = []
    for content in contents:
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        objects.append(_PAGE % (rotation, len(objects)))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    if outline:
        at = len(objects) + 1
        objects[0] = b"<< /Type /Catalog /Pages 2 0 R /Outlines %d 0 R >>" % at
        objects.append(b"<< /First %d 0 R /Last %d 0 R /Count 1 >>" % (at + 1, at + 1))
        entry = b"<< /Title (%s) /Parent %d 0 R /Dest [%s /Fit] >>"
        objects.append(entry % (outline.encode(), at, kids[0]))
    facts = b"<< /Title <feff%s> /Author (A. Writer) /CreationDate (D:20240131120000+08'00') >>"
    objects.append(facts % title.encode("utf-16-be").hex().encode())
    data = bytearray(b"%PDF-1.4\n")
    table = bytearray(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for number, body in enumerate(objects, start=1):
        table += b"%010d 00000 n \n" % len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    trailer = b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF"
    return bytes(data + table) + trailer % (len(objects) + 1, len(objects), len(data))


def _line(text: str) -> bytes:
    if text.isascii():
        return b"/F1 12 Tf (%s) Tj T* " % text.encode()
    return b"/F2 12 Tf <%s> Tj T* " % text.encode("utf-16-be").hex().encode()


class HashEmbedder:
    """Vectors of hashed letter triples: near for words that are spelt alike."""

    size = 256
    name = "hash-3"

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self.size
        padded = f"  {text.lower()}  "
        for at in range(len(padded) - 2):
            digest = hashlib.blake2b(padded[at : at + 3].encode(), digest_size=4).digest()
            vector[int.from_bytes(digest, "big") % self.size] += 1.0
        norm = math.sqrt(sum(value * value for value in vector))
        return [value / norm for value in vector]


Placed = tuple[float, float, str] | tuple[float, float, str, float]


def make_placed_pdf(pages: Sequence[Sequence[Placed]], rotation: int = 0, title: str = "") -> bytes:
    """A PDF with words at (left, baseline) of its pages, in points, in Helvetica of 10 or more points.

    With a `rotation` in degrees its pages are stored turned and shown upright.
    """
    across, up = {0: (1, 0), 90: (0, 1), 270: (0, -1)}[rotation]
    contents = []
    for page in pages:
        words = [
            b"/F1 %g Tf %d %d %d %d %.1f %.1f Tm (%s) Tj "
            % (*(size or [10]), across, up, -up, across, *_turned(x, y, rotation), _escaped(text))
            for x, y, text, *size in page
        ]
        contents.append(b"BT " + b"".join(words) + b"ET")
    return pdf_of(contents, title, rotation=rotation)


def _turned(x: float, y: float, rotation: int) -> tuple[float, float]:
    return {0: (x, y), 90: (612 - y + 180, x), 270: (y, 792 - x)}[rotation]


def _escaped(text: str) -> bytes:
    return re.sub(r"([()\\])", r"\\\1", text).encode("ascii")
