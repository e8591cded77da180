"""Xet's hashes as text: four little-endian numbers of 64 bits, each as 16 digits."""

from __future__ import annotations

import struct

LENGTH = 32
_NUMBERS = struct.Struct("<4Q")


def text_of(raw: bytes) -> str:
    """64 hexadecimal digits, of 32 bytes."""
    return "".join(f"{number:016x}" for number in _NUMBERS.unpack(raw))
