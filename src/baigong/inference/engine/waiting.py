"""Who waits, and whose turn it is: a flood from one caller must not starve the others."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter

from baigong.inference.engine.batch import Sequence


class Waiting:
    """Sequences by caller, first come first served within each.

    The next is of the caller who has been served least (start-time fair queueing over computed
    tokens, Goyal, Vin and Cheng 1996): whoever comes back from idleness starts level with the least
    served of those present, neither ahead by what it left unused nor behind.
    """

    def __init__(self) -> None:
        self._queues: dict[str, list[tuple[int, Sequence]]] = {}
        self._served: Counter[str] = Counter()
        self._arrivals = itertools.count()
        self._order: dict[Sequence, int] = {}  # of arrival, kept by one that has to come back
        self._level = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> itertools.chain[Sequence]:
        return itertools.chain.from_iterable([s for _, s in q] for q in self._queues.values())

    def add(self, sequence: Sequence, arrival: int | None = None) -> None:
        """Queue it; `arrival` is an earlier number of its own, to get its old place back."""
        caller = sequence.caller
        if caller not in self._queues:
            self._queues[caller] = []
            self._served[caller] = max(self._served[caller], self._level)
        number = next(self._arrivals) if arrival is None else arrival
        self._order[sequence] = sequence.arrival = number
        heapq.heappush(self._queues[caller], (number, sequence))

    def head(self) -> Sequence | None:
        """Whose turn it is."""
        if not self._queues:
            return None
        caller = min(self._queues, key=lambda c: (self._served[c], self._queues[c][0][0]))
        return self._queues[caller][0][1]

    def remove(self, sequence: Sequence) -> None:
        """Take it out, wherever it stands."""
        queue = self._queues[sequence.caller]
        queue.remove((self._order.pop(sequence), sequence))
        heapq.heapify(queue)
        if not queue:
            del self._queues[sequence.caller]

    def charge(self, sequence: Sequence, tokens: int) -> None:
        """Note that `tokens` have been computed for the sequence's caller."""
        self._served[sequence.caller] += tokens
        if self._queues:
            self._level = min(self._served[caller] for caller in self._queues)
        else:
            self._served = Counter()  # nobody waits: everybody starts level again
            self._level = 0
