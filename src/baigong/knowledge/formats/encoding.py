"""Which encoding a text is in: by its mark, by being valid UTF-8, else by the shape of its bytes.

For scripts of two bytes a letter the ranges of first and second bytes tell more, and from fewer
letters, than the frequency of letters does: of two words in GB18030 or Big5, charset-normalizer
takes every third for Korean. It decides between the single-byte encodings, given enough letters.
"""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from baigong.knowledge.formats.document import Unreadable

MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 64 << 10  # enough to tell an encoding by


def decode(data: bytes) -> str:
    """Text of any usual encoding.

    Raises:
        Unreadable: the bytes are not text.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding)
    if b"\0" in data:
        return _decoded(data, _wide(data))
    text = data.decode(errors="replace")
    broken = text.count(_BROKEN)
    # In other encodings letters that are not ASCII are hardly ever whole in UTF-8.
    if broken == 0 or broken * 20 < sum(letter > "\x7f" for letter in text[:_SAMPLE_BYTES]):
        return text
    return _decoded(data, _by_shape(data))


_BROKEN = "\ufffd"  # stands for bytes that are no letter


def _decoded(data: bytes, encoding: str) -> str:
    """The text; few broken letters, say at the end of a file that was cut, are shown as such."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        text = data.decode(encoding, "replace")
        if text.count(_BROKEN) * 200 <= len(text):
            return text
        raise Unreadable(f"is not text in any encoding we know; as {encoding}: {error}") from error


_LAYOUTS = {  # which of four bytes are mostly zero
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: ASCII in it leaves its zero bytes at every other place."""
    sample = data[: _SAMPLE_BYTES & ~3]
    often = len(sample) / 8
    zeros = tuple(sample[at::4].count(0) > often for at in range(4))
    for layout, encoding in _LAYOUTS.items():
        if zeros == layout and len(data) >= 8:
            return encoding
    raise Unreadable("is not text: it holds zero bytes.")


# A letter of two bytes, in any of the encodings below; those of GB18030 with four are rare.
_PAIR = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")
_RUN = re.compile(rb"[\xa1-\xfe]{2,}")


def _by_shape(data: bytes) -> str:
    sample = _sample(data)
    high = sum(byte >= 0x80 for byte in sample)
    pairs = _PAIR.findall(sample)
    if _is_shift_jis(sample):
        return "cp932"
    if _is_big5(sample, pairs):
        return "big5hkscs"
    # In the others both bytes of the usual letters are high; in Western text few high bytes meet.
    paired = sum(map(len, _RUN.findall(sample)))
    if paired * 3 < high * 2 or _is_single_byte(sample, high) or _is_within_words(sample):
        return _single_byte(sample, high)
    if _share(pairs, first=b"\xa4\xa5") > 0.25:  # kana, which stand there in GB18030 as well
        return "euc_jp"
    if len(pairs) >= 6 and _share(pairs, first=bytes(range(0xB0, 0xC9))) > 0.97:
        return "cp949"  # only Hangul; of Chinese letters half lie beyond
    return "gb18030"


def _sample(data: bytes) -> bytes:
    """Bytes round the first letters that are not ASCII."""
    high = re.search(rb"[\x80-\xff]", data)
    start = max(0, (high.start() if high is not None else 0) - 1024)
    return data[start : start + _SAMPLE_BYTES]


def _share(pairs: list[bytes], *, first: bytes) -> float:
    """How many of the letters, spaces and signs left out, begin with one of these bytes."""
    letters = [pair for pair in pairs if pair[0] not in b"\xa1\xa2\xa3"]
    return sum(pair[0] in first for pair in letters) / len(letters) if letters else 0.0


def _is_shift_jis(sample: bytes) -> bool:
    text = sample.decode("cp932", "replace")
    letters = [letter for letter in text if letter > "\x7f"]
    kana = sum("\u3041" <= letter <= "\u30fe" for letter in letters)
    return kana > 0.25 * len(letters) and text.count(_BROKEN) <= 1  # the sample may end in a letter


def _is_big5(sample: bytes, pairs: list[bytes]) -> bool:
    """Usual letters begin with A4 to C6, and two in five end in a byte below 7F, of GB18030 hardly any."""
    if not pairs or _share(pairs, first=bytes(range(0xA4, 0xC7))) < 0.85:
        return False
    if sum(pair[1] < 0x7F for pair in pairs) < 0.1 * len(pairs):
        return False
    # The blank after a Western letter is no second byte, yet the letter after it is.
    return sample.decode("big5hkscs", "replace").count(_BROKEN) <= 1 and _meets(sample)


def _meets(sample: bytes) -> bool:
    """Whether letters of two bytes follow each other, as they do in Chinese."""
    chains = re.findall(rb"(?:[\x81-\xfe][\x40-\x7e\xa1-\xfe]){2,}", sample)
    return sum(map(len, chains)) > 0.8 * 2 * len(_PAIR.findall(sample))


_HIGH = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]+")
_WITHIN = re.compile(rb"(?<=[A-Za-z])[\x80-\xff]{1,3}(?=[a-z])")


def _is_within_words(sample: bytes) -> bool:
    """Whether the high bytes stand, few at a time, between Western letters: `Größe`."""
    return 2 * len(_WITHIN.findall(sample)) >= len(_HIGH.findall(sample))


_ENOUGH_BYTES = 64


def _is_single_byte(sample: bytes, high: int) -> bool:
    """Cyrillic and Greek words are runs of bytes from C0 on; second bytes of Chinese start lower."""
    return high >= 8 and sum(0x80 <= byte < 0xC0 for byte in sample) < 0.02 * high


def _single_byte(sample: bytes, high: int) -> str:
    if not _is_single_byte(sample, high) and high < _ENOUGH_BYTES:
        return "cp1252"
    candidates = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "koi8_r"]
    found = from_bytes(sample, cp_isolation=candidates).best()
    return found.encoding if found is not None and found.encoding in candidates else "cp1252"
