"""Bytes onto the disk, many pieces at once."""

from __future__ import annotations

import os
from collections.abc import Sequence

from baigong.store.room import room_for

Piece = bytes | bytearray | memoryview
_MOST = 512  # pieces that the system takes at once, at the least


def write_all(descriptor: int, pieces: Sequence[Piece]) -> int:
    """Write pieces one behind the other; how many bytes they were.

    Raises:
        StorageFull: there is no room for them.
    """
    left = [memoryview(piece) for piece in pieces if piece]
    size = sum(map(len, left))
    with room_for("a file"):
        while left:
            done = os.writev(descriptor, left[:_MOST])
            while left and done >= len(left[0]):
                done -= len(left.pop(0))
            if done:
                left[0] = left[0][done:]
    return size
