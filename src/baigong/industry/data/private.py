"""What in a row may belong to a person: told by kind and line, never by value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_DIGIT = re.compile(r"[0-9]")
# Nearly all texts hold nothing of the kind, and one look says so.
_MAYBE = re.compile(r"@|[0-9](?:[ ().-]?[0-9]){6}|\b[A-Z]{2}[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of private thing: how it looks, and what makes it more than a number that looks so."""

    name: str
    looks: re.Pattern[str]
    is_real: Callable[[str], bool] = lambda _text: True


def _digits(text: str) -> list[int]:
    return [int(digit) for digit in _DIGIT.findall(text)]


def is_luhn(text: str) -> bool:
    """Whether the digits end with the check digit of bank cards (ISO/IEC 7812)."""
    total = 0
    for at, digit in enumerate(reversed(_digits(text))):
        doubled = digit * (1 + at % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def is_resident(text: str) -> bool:
    """Whether a Chinese identity number ends with its check digit (GB 11643, ISO 7064 MOD 11-2)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(text, weights, strict=False))
    return "10X98765432"[total % 11] == text[17].upper()


def is_iban(text: str) -> bool:
    """Whether an account number's check digits hold (ISO 13616, MOD 97-10)."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


KINDS = (
    Kind("e-mail address", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    Kind(
        "identity card",
        re.compile(r"(?<![0-9])[1-9][0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx](?![0-9A-Za-z])"),
        is_resident,
    ),
    Kind("IBAN", re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b"), is_iban),
    Kind("bank card", re.compile(r"(?<![0-9])[3-6](?:[ -]?[0-9]){12,18}(?![0-9])"), is_luhn),
    Kind(
        "phone number",
        re.compile(
            r"(?<![0-9+])(?:"
            r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"  # a Chinese mobile
            r"|\+[1-9](?:[ ().-]{0,2}[0-9]){7,14}"  # as one dials it from abroad
            r"|\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[.-][0-9]{4}"  # as North America writes it
            r"|0[1-9][0-9]{1,2}-[2-9][0-9]{6,7}"  # a Chinese land line
            r")(?![0-9])"
        ),
    ),
)  # fmt: skip


def private_in(text: str) -> set[str]:
    """The kinds of private things in a text. What is of one kind is not looked at for the next."""
    found: set[str] = set()
    if _MAYBE.search(text) is None:
        return found
    for kind in KINDS:
        real = [match for match in kind.looks.finditer(text) if kind.is_real(match[0])]
        if real:
            found.add(kind.name)
        for match in reversed(real):
            text = f"{text[: match.start()]} {text[match.end() :]}"
    return found
