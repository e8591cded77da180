"""A drawing as a PNG file, through PDFium, which is here to read documents and draws lines and letters well."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from baigong.tuning.drawing import HEIGHT, LETTER, WIDTH, Dot, Drawing, Line, Word

_SCALE = 2  # pixels for one of the drawing's units, as screens have them
_DIGIT, _POINT = 0.556, 0.278  # widths of Helvetica's, of its height
_one_at_a_time = threading.Lock()  # PDFium knows no threads


def png(drawing: Drawing) -> bytes:
    """The drawing as a PNG file."""
    import pypdfium2  # noqa: PLC0415  only a tuning that has ended draws

    sheet = _pdf("\n".join(map(_drawn, drawing)).encode())
    with _one_at_a_time, pypdfium2.PdfDocument(sheet) as document:
        pixels = document[0].render(scale=_SCALE, rev_byteorder=True).to_numpy()
        return _file(np.ascontiguousarray(pixels[:, :, :3]))


def _drawn(one: Line | Dot | Word) -> str:
    """What draws a part in a page's own language, in which y goes up."""
    colour = " ".join(f"{int(one.colour[at : at + 2], 16) / 255:.3f}" for at in (1, 3, 5))
    match one:
        case Line():
            places = [f"{x:.1f} {HEIGHT - y:.1f}" for x, y in one.places]
            path = "\n".join([f"{places[0]} m", *(f"{place} l" for place in places[1:])])
            return f"{colour} RG {one.width} w 1 j\n{path} S"
        case Dot():  # a line of no length with round ends
            place = f"{one.x:.1f} {HEIGHT - one.y:.1f}"
            return f"q {colour} RG {2 * one.radius} w 1 J {place} m {place} l S Q"
        case Word():
            width = LETTER * sum(_POINT if letter in ".-" else _DIGIT for letter in one.text)
            x, y = one.x - one.anchor * width, HEIGHT - one.y
            return f"BT {colour} rg /F {LETTER} Tf {x:.1f} {y:.1f} Td ({one.text}) Tj ET"


def _pdf(content: bytes) -> bytes:
    """A document of one white page."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 %d %d]/Resources<</Font<</F 5 0 R>>>>>>"
        % (WIDTH, HEIGHT),
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = bytearray(b"%PDF-1.4\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj%s endobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    return bytes(data) + end % (table, len(data))


def _file(pixels: np.ndarray[Any, Any]) -> bytes:
    """(height, width, 3) bytes as PNG says them: each row behind a byte for how it is filtered."""
    height, width, _ = pixels.shape
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    parts: Sequence[tuple[bytes, bytes]] = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
