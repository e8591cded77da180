"""Who takes part in the next step, and what becomes of them after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Many

from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.cache import Cache
from baigong.inference.engine.lora import LoraAdapter
from baigong.inference.engine.messages import Scores, Token
from baigong.inference.engine.sampler import BROKEN

# Room reserved for an answer at once; longer ones double their room when they need it.
_ANSWER_ROOM = 64
_LEAST_PREFILL = 32  # prompt tokens of a step, however slow the machine


class Scheduler:
    """First come, first served; sequences join and leave the running batch at any step.

    When the cache is full, the sequence that came last gives its room up and waits at the head of
    the queue, to be computed again from its ids.
    """

    def __init__(self, cache: Cache, max_batch: int, prefill_tokens: int, stall_s: float) -> None:
        self._cache = cache
        self._max_batch = max_batch
        self._prefill_tokens = prefill_tokens
        self._stall_s = stall_s
        self._prefill_rate = prefill_tokens / stall_s  # tokens per second, a guess at first
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # in the order of arrival

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._waiting

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)

    def abort(self, id: int) -> None:
        """Forget a sequence wherever it is; one that is gone already is no mistake."""
        for sequence in self._running:
            if sequence.id == id:
                self._drop(sequence)
                return
        self._waiting = deque(s for s in self._waiting if s.id != id)

    def uses(self, adapter: LoraAdapter) -> bool:
        """Whether any sequence still needs the adapter."""
        return any(s.adapter is adapter for s in (*self._running, *self._waiting))

    def next_batch(self) -> Batch | None:
        """The next step's work, or None when there is nothing to do."""
        self._make_room()
        self._admit()
        if not self._running:
            return None
        counts = {s: 1 for s in self._running if s.num_pending == 1}
        left = self._prefill_limit(has_neighbours=bool(counts))
        for sequence in self._running:
            if sequence.num_pending > 1 and left > 0:
                counts[sequence] = min(sequence.num_pending, left)
                left -= counts[sequence]
        return Batch.of(counts)

    def accept(self, batch: Batch, tokens: Many[int], scores: Many[Scores | None]) -> list[Token]:
        """Note what a step has computed, and let those leave that have ended or are BROKEN."""
        finished = batch.finished
        for sequence, count in zip(batch.sequences, batch.counts, strict=True):
            sequence.computed += count
        news = []
        for sequence, token, score in zip(finished, tokens, scores, strict=True):
            if token == BROKEN:
                assert sequence.extent is not None
                self._cache.wipe(sequence.extent)
                self._drop(sequence)
                continue
            reason = sequence.take(token)
            news.append(Token(sequence.id, token, reason, score, sequence.tell_prompt()))
            if reason is not None:
                self._drop(sequence)
        return news

    def observe(self, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step how many prompt tokens fit the time that neighbours may wait."""
        if prompt_tokens >= _LEAST_PREFILL:
            self._prefill_rate += 0.3 * (prompt_tokens / seconds - self._prefill_rate)

    def _prefill_limit(self, *, has_neighbours: bool) -> int:
        if not has_neighbours:
            return self._prefill_tokens
        fitting = int(self._prefill_rate * self._stall_s)
        return max(_LEAST_PREFILL, min(fitting, self._prefill_tokens))

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._max_batch:
            sequence = self._waiting[0]
            wanted = min(sequence.limit, len(sequence.ids) + _ANSWER_ROOM)
            sequence.extent = self._cache.reserve(wanted)
            if sequence.extent is None:
                return  # nobody overtakes: a long prompt would wait for ever
            self._running.append(self._waiting.popleft())

    def _make_room(self) -> None:
        """See that every running sequence has a slot for its next token, the oldest first."""
        for sequence in list(self._running):
            while sequence.extent is not None and sequence.computed >= sequence.extent.capacity:
                grown = self._cache.grow(sequence.extent, sequence.computed)
                if grown is None:
                    self._preempt(self._running[-1])
                else:
                    sequence.extent = grown

    def _preempt(self, sequence: Sequence) -> None:
        self._drop(sequence)
        sequence.computed = 0
        self._waiting.appendleft(sequence)

    def _drop(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        if sequence.extent is not None:
            self._cache.release(sequence.extent)
            sequence.extent = None
