"""What comes next where a text repeats itself: guesses from a sequence's own tokens.

Prompt lookup (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding), a form of speculative
decoding (Leviathan, Kalman and Matias 2023, arXiv:2211.17192): the model reads the guesses in one step and
says which are right. Answers that quote, copy or fill in a form are full of them.
"""

from __future__ import annotations

from itertools import pairwise

# Chosen by trial on answers of `sapling`: quotes, copies, JSON and prose.
_LEAST = 3  # ids in a row that have to agree before anything is guessed; two begin it
_MOST_NEEDED = 32
_MOST = 15  # guesses at once: with the token that is due anyway, a tile of sixteen rows


class Lookup:
    """Follows a sequence's ids, and where the last two of them stood before.

    The longer both agree, the more is guessed. After guesses that were all wrong, they have to
    agree for longer; looking costs next to nothing, so that they may do so unasked.
    """

    def __init__(self, ids: list[int]) -> None:
        """Begin with `ids`, at least one, which may grow: each further id is a look into a table."""
        self._ids = ids
        self._noted = len(ids)
        # Of each pair of ids, the place after the last time it stood there. The end is no such place.
        self._places = dict(zip(pairwise(ids), range(2, len(ids)), strict=False))
        self._pair = (ids[-2] if len(ids) > 1 else -1, ids[-1])
        self._at = self._places.get(self._pair, 0)  # the place of the id that is expected next
        self._agreed = 2 if self._at else 0  # how many ids before it are the same as the last ones
        self._needed = _LEAST

    def draft(self, most: int) -> list[int]:
        """Up to `most` ids that may come next; none where too few agree."""
        self._catch_up()
        if self._agreed < self._needed:
            return []
        count = min(most, self._agreed - 1, _MOST)
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
        ids, places = self._ids, self._places
        for end in range(self._noted, len(ids)):
            places[self._pair] = end
            self._pair = pair = (self._pair[1], ids[end])
            if self._agreed and ids[self._at] == pair[1]:
                self._at += 1
                self._agreed += 1
            else:
                self._at = places.get(pair, 0)
                self._agreed = 2 if self._at else 0
        self._noted = len(ids)
