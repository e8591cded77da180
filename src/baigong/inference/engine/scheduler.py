"""Who takes part in the next step, and what becomes of them after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Many
from typing import Literal

from baigong.errors import Overloaded
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.cache import Cache, Extent
from baigong.inference.engine.lora import LoraAdapter
from baigong.inference.engine.messages import Scores, Token
from baigong.inference.engine.prefixes import Kept, Prefixes, marks_of
from baigong.inference.engine.sampler import BROKEN
from baigong.inference.engine.waiting import Waiting
from baigong.types import FinishReason

# Room reserved for an answer at once; longer ones double their room when they need it.
_ANSWER_ROOM = 64
_SCORED = 128  # prompt tokens of a step whose logits are all wanted: 80 MB at 150,000 words
_ROUNDS_S = 0.008  # for which nobody notices that nothing else is looked at
_LEAST_PREFILL = 32  # prompt tokens of a step, however slow the machine


class Scheduler:
    """Callers take turns; sequences join and leave the running batch at any step.

    When the cache is full, what is kept of ended sequences goes first; then the sequence that came
    last gives its room up and waits for its turn, to be computed again from its ids.
    """

    def __init__(
        self,
        cache: Cache,
        max_batch: int,
        max_waiting: int,
        prefill_tokens: int,
        stall_s: float,
        draft_rows: int = 0,
        most_rounds: int = 0,
    ) -> None:
        """For a model that goes on by itself for `most_rounds`.

        `draft_rows` are the most tokens of a step that has drafts among them.
        """
        self._cache = cache
        self._draft_rows = draft_rows
        self._most_rounds = most_rounds
        self._round_s = _ROUNDS_S
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._prefill_tokens = prefill_tokens
        self._stall_s = stall_s
        self._prefill_rate = prefill_tokens / stall_s  # tokens per second, a guess at first
        self._waiting = Waiting()
        self._running: list[Sequence] = []  # in the order of admission
        self._prefixes = Prefixes()

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_cached(self) -> int:
        """Tokens of room that running sequences take."""
        return self._cache.num_used - self._prefixes.num_tokens

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._waiting

    def add(self, sequence: Sequence) -> None:
        """Let it wait for its turn.

        Raises:
            Overloaded: too many wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            error = Overloaded(
                f"{len(self._waiting)} requests are waiting already.",
                hint="Send the request again after the seconds that retry-after names.",
            )
            error.retry_after = 1.0 + len(self._waiting) // self._max_batch
            raise error
        self._waiting.add(sequence)

    def abort(self, id: int) -> None:
        """Forget a sequence wherever it is; one that is gone already is no mistake."""
        for sequence in self._running:
            if sequence.id == id:
                self._leave(sequence)
                return
        for sequence in self._waiting:
            if sequence.id == id:
                self._waiting.remove(sequence)
                return

    def uses(self, adapter: LoraAdapter) -> bool:
        """Whether any sequence still needs the adapter."""
        return any(s.adapter is adapter for s in (*self._running, *self._waiting))

    def forget(self, adapter: LoraAdapter) -> None:
        """Keep nothing more of what was computed with an adapter."""
        for extent in self._prefixes.drop_adapter(adapter):
            self._cache.release(extent)

    def next_batch(self) -> Batch | None:
        """The next step's work, or None when there is nothing to do."""
        self._make_room()
        self._admit()
        if not self._running:
            return None
        counts = {s: 1 for s in self._running if s.num_pending == 1}
        left, scored = self._prefill_limit(has_neighbours=bool(counts)), _SCORED
        for sequence in self._running:
            room = min(left, scored) if sequence.needs_prompt_rows else left
            if sequence.num_pending > 1 and room > 0:
                counts[sequence] = min(sequence.num_pending, room)
                left -= counts[sequence]
                if sequence.needs_prompt_rows:
                    scored -= counts[sequence]
        self._add_drafts(counts)
        return Batch.of(counts, self._rounds(counts))

    def accept(
        self, batch: Batch, tokens: Many[int], scores: Many[Scores | None]
    ) -> tuple[list[Token], list[Sequence]]:
        """Note what a step has computed, and let those leave that have ended or are broken.

        Args:
            tokens, scores: of each of `batch.finished`.

        Returns:
            What is to be told, and the sequences that have met BROKEN.
        """
        news: list[Token] = []
        broken: list[Sequence] = []
        at = 0
        for sequence, count, due in zip(batch.sequences, batch.counts, batch.due, strict=True):
            own = tokens[at : at + due]
            right, end = _take(sequence, own, scores[at : at + due], news)
            at += due
            count += right - len(sequence.draft)
            sequence.computed += count
            self._waiting.charge(sequence, count)
            sequence.settle(right, is_guess=not batch.rounds)
            if BROKEN in own:
                assert sequence.extent is not None
                self._cache.wipe(sequence.extent)
                sequence.computed = 0  # nothing to keep; it goes on, if it does, from its ids
            if end is not None:
                self._leave(sequence)
            if end == "broken":
                broken.append(sequence)
        return news, broken

    def observe(self, batch: Batch, seconds: float) -> None:
        """Learn from a step, before it is accepted, what fits the time that others may wait."""
        prompt_tokens = batch.num_prompt_tokens
        if batch.rounds:
            self._round_s += 0.3 * (seconds / batch.rounds - self._round_s)
        elif prompt_tokens >= _LEAST_PREFILL:
            self._prefill_rate += 0.3 * (prompt_tokens / seconds - self._prefill_rate)

    def _rounds(self, counts: dict[Sequence, int]) -> int:
        """How often the model may choose tokens and go on before anything else is looked at.

        For a small model this look takes as long as a step.
        """
        if not self._most_rounds or any(count > 1 for count in counts.values()):
            return 0
        most = min(self._most_rounds, *(sequence.most_rounds for sequence in counts))
        return min(most, max(1, int(_ROUNDS_S / self._round_s)))

    def _add_drafts(self, counts: dict[Sequence, int]) -> None:
        """Let every sequence guess on, as far as its share of the rows goes.

        The more there are, the more a row costs beside what it saves, and the first guesses of a
        draft are right more often than the last ones.
        """
        share = (self._draft_rows - sum(counts.values())) // len(counts)
        if share > 0:
            for sequence in counts:
                counts[sequence] += sequence.guess(share)

    def _prefill_limit(self, *, has_neighbours: bool) -> int:
        if not has_neighbours:
            return self._prefill_tokens
        fitting = int(self._prefill_rate * self._stall_s)
        return max(_LEAST_PREFILL, min(fitting, self._prefill_tokens))

    def _admit(self) -> None:
        while (sequence := self._waiting.head()) is not None:
            if len(self._running) >= self._max_batch and not self._make_way(sequence.caller):
                return
            # The last token passes through the model in any case: its logits are wanted.
            reusable = [] if sequence.needs_prompt_rows else sequence.ids[:-1]
            marks = marks_of(sequence.adapter, reusable, sequence.marks)
            sequence.marks = marks  # it may come to this again and again before there is room
            self._prefixes.find(marks)  # now the last to be dropped
            sequence.extent = self._reserve(min(sequence.limit, len(sequence.ids) + _ANSWER_ROOM))
            if sequence.extent is None:
                return  # nobody overtakes: a long prompt would wait for ever
            found = self._prefixes.find(marks)
            if found is not None:
                kept, sequence.computed = found
                self._cache.copy(kept.extent, sequence.extent, sequence.computed)
            self._waiting.remove(sequence)
            self._running.append(sequence)

    def _make_way(self, caller: str) -> bool:
        """Where others fill the batch and this caller has nothing in it, let the last of the largest wait."""
        counts = Counter(sequence.caller for sequence in self._running)
        largest, most = counts.most_common(1)[0]
        if counts[caller] or most <= self._max_batch // (len(counts) + 1):
            return False
        self._preempt(next(s for s in reversed(self._running) if s.caller == largest))
        return True

    def _reserve(self, tokens: int) -> Extent | None:
        """Room for `tokens`, at the cost of what is kept of others where it must be."""
        while (extent := self._cache.reserve(tokens)) is None:
            oldest = self._prefixes.drop_oldest()
            if oldest is None:
                return None
            self._cache.release(oldest)
        return extent

    def _make_room(self) -> None:
        """See that every running sequence has a slot for its next token, the oldest first."""
        for sequence in list(self._running):
            while sequence.extent is not None and sequence.computed >= sequence.extent.capacity:
                grown = self._cache.grow(sequence.extent, sequence.computed)
                if grown is not None:
                    sequence.extent = grown
                elif (oldest := self._prefixes.drop_oldest()) is not None:
                    self._cache.release(oldest)
                else:
                    self._preempt(self._running[-1])

    def _preempt(self, sequence: Sequence) -> None:
        self._leave(sequence)
        sequence.computed = 0
        self._waiting.add(sequence, sequence.arrival)

    def _leave(self, sequence: Sequence) -> None:
        """Take it out of the batch; what it has in the cache is kept until the room is needed."""
        self._running.remove(sequence)
        if sequence.extent is None:
            return
        marks = marks_of(sequence.adapter, sequence.ids[: sequence.computed], sequence.marks)
        needless = self._prefixes.keep(Kept(sequence.extent, sequence.adapter, marks))
        if needless is not None:
            self._cache.release(needless)
        sequence.extent = None


def _take(
    sequence: Sequence, tokens: Many[int], scores: Many[Scores | None], news: list[Token]
) -> tuple[int, FinishReason | Literal["broken"] | None]:
    """Append its tokens up to the first that its draft has not foreseen.

    Returns:
        How much of the draft is right, and why the sequence ends, if it does.
    """
    draft = sequence.draft
    for right, token in enumerate(tokens):
        if token == BROKEN:
            return right, "broken"
        reason = sequence.take(token)
        news.append(Token(sequence.id, token, reason, scores[right], sequence.tell_prompt()))
        if reason is not None or right == len(draft) or token != draft[right]:
            return right, reason
    return 0, None
