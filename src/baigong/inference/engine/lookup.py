"""What comes next where a text repeats itself: guesses from a sequence's own tokens.

Prompt lookup (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding), a form of speculative
decoding (Leviathan, Kalman and Matias 2023, arXiv:2211.17192): the model reads the guesses in one step and
says which are right. Answers that quote, copy or fill in a form are full of them.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

# Chosen by trial on answers of `sapling`: quotes, copies, JSON and prose.
_FEW = 2  # ids that are looked for
_LEAST = 3  # ids in a row that have to agree before anything is guessed
_MOST_NEEDED = 32
_MOST = 15  # guesses at once: with the token that is due anyway, a tile of sixteen rows


class Lookup:
    """Follows a sequence's ids, and where they last stood the same.

    The longer both agree, the more is guessed, and for nothing but looking: a token that was not
    guessed in time counts too. After guesses that were all wrong, they have to agree for longer.
    """

    def __init__(self, ids: Many[int]) -> None:
        """Begin with `ids`, which may grow; each further id costs a look into a table."""
        self._ids = ids
        self._noted = len(ids)
        shifted = (ids[start:] for start in range(_FEW))
        places = range(_FEW, len(ids))
        self._places = dict(zip(zip(*shifted, strict=False), places, strict=False))
        self._at = 0  # the place of the id that is expected next
        self._agreed = 0  # how many ids in a row before it are the same as the last ones
        self._needed = _LEAST
        self._find(len(ids))

    def draft(self, most: int) -> list[int]:
        """Up to `most` ids that may come next; none where it is not sure."""
        self._catch_up()
        if self._agreed < self._needed:
            return []
        count = min(most, self._agreed - _FEW + 1, _MOST)
        # What has not been written yet repeats what has: a loop goes on as a loop.
        period = len(self._ids) - self._at
        return [self._ids[self._at + i % period] for i in range(count)]

    def learn(self, drafted: int, right: int) -> None:
        """Take note that the first `right` of `drafted` guesses came true."""
        if right == drafted:
            self._needed = _LEAST
        elif right == 0:
            self._needed = min(2 * self._needed, _MOST_NEEDED)

    def _catch_up(self) -> None:
        ids = self._ids
        for end in range(self._noted, len(ids)):
            if self._agreed and ids[self._at] == ids[end]:
                self._at += 1
                self._agreed += 1
            else:
                self._agreed = 0
            if end >= _FEW:
                self._places[tuple(ids[end - _FEW : end])] = end
            if not self._agreed:
                self._find(end + 1)
        self._noted = len(ids)

    def _find(self, end: int) -> None:
        """Where what stands before `end` stood last."""
        place = self._places.get(tuple(self._ids[max(0, end - _FEW) : end]))
        if place is not None:
            self._at, self._agreed = place, _FEW
