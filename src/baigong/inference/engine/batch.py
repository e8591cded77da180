"""A sequence on its way through the engine, and the batch that one step works on."""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from baigong.inference.engine.cache import Chunk, Extent
from baigong.inference.engine.decoder import Segment
from baigong.inference.engine.grammar import Matcher
from baigong.inference.engine.lookup import Lookup
from baigong.inference.engine.lora import LoraAdapter
from baigong.inference.engine.messages import Scores
from baigong.inference.engine.penalties import Penalties
from baigong.types import FinishReason, Sampling


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """One request: its prompt, what it has generated, and how far the cache holds it.

    Attributes:
        ids: prompt and answer so far.
        limit: length at which it must end.
        matcher: what holds its answer to a grammar.
        computed: how many of `ids` are in the cache.
        caller: whose turn it uses up.
        arrival: its number in the order of arrival.
        extent: where; None while it waits.
        marks: of the first blocks of `ids`, as far as they have been worked out (prefixes.py).
        prompt: how many of `ids` are the prompt.
        is_edited: its logits are changed before a token is chosen.
        is_plain: its next token is simply the likeliest.
        penalties: what changes its logits; made when they are first looked at.
        prompt_scores: of the prompt's tokens from the second on, as far as they are known; None
            where nobody asked, or they have been told.
        lookup: where its draft comes from; made when there is room for one.
        draft: ids that may come after `ids`, for the model to see in this step.
    """

    id: int
    ids: list[int]
    limit: int
    sampling: Sampling
    stop_ids: frozenset[int]
    adapter: LoraAdapter | None
    matcher: Matcher | None = None
    caller: str = ""
    arrival: int = 0
    computed: int = 0
    extent: Extent | None = None
    marks: Many[bytes] = ()
    seed: int = field(init=False)
    prompt: int = field(init=False)
    is_edited: bool = field(init=False)
    is_plain: bool = field(init=False)
    penalties: Penalties | None = None
    prompt_scores: list[Scores] | None = None
    lookup: Lookup | None = None
    draft: Many[int] = ()

    def __post_init__(self) -> None:
        sampling = self.sampling
        self.seed = random.getrandbits(64) if sampling.seed is None else sampling.seed
        self.prompt = len(self.ids)
        self.is_edited = self.matcher is not None or Penalties.are_in(sampling)
        self.is_plain = not (sampling.temperature > 0 or self.is_edited)
        if sampling.scores_prompt and sampling.logprobs is not None:
            self.prompt_scores = []

    @property
    def needs_prompt_rows(self) -> bool:
        """Whether every token of the prompt has to pass through the model, cached or not."""
        return self.prompt_scores is not None

    @property
    def num_pending(self) -> int:
        """Tokens that still have to pass through the model before the next one is known."""
        return len(self.ids) - self.computed

    def guess(self, most: int) -> int:
        """Draft up to `most` tokens where it is due one, within its room; says how many."""
        # What changes logits by the tokens before them would have to know the draft.
        if self.num_pending != 1 or self.is_edited or self.needs_prompt_rows:
            return 0
        if self.lookup is None:
            self.lookup = Lookup(self.ids)
        # To draw a token takes as long again as a row of a small model.
        if draft := self.lookup.draft(most if self.is_plain else most // 2):
            assert self.extent is not None
            self.draft = draft[: min(self.extent.capacity, self.limit - 1) - len(self.ids)]
        return len(self.draft)

    def settle(self, right: int, *, is_guess: bool) -> None:
        """Be done with the draft, whose first `right` tokens came true."""
        if self.draft and self.lookup is not None and is_guess:
            self.lookup.learn(len(self.draft), right)
        self.draft = ()

    @property
    def most_rounds(self) -> int:
        """How often in a row its next token can be chosen by the model itself."""
        if self.num_pending != 1 or not self.is_plain or self.sampling.logprobs is not None:
            return 0
        assert self.extent is not None
        return min(self.extent.capacity - self.computed, self.limit - len(self.ids))

    def take(self, token: int) -> FinishReason | None:
        """Append a generated token; says why the sequence ends with it, if it does."""
        self.ids.append(token)
        if token in self.stop_ids or (self.matcher is not None and self.matcher.take(token)):
            return "stop"
        return "length" if len(self.ids) >= self.limit else None

    def tell_prompt(self) -> list[Scores]:
        """The prompt's scores, once; nothing where nobody asked."""
        scores, self.prompt_scores = self.prompt_scores, None
        return scores or []


@dataclass(frozen=True)
class Batch:
    """What one step computes: `counts[i]` tokens of `sequences[i]`, in one flat row.

    They are pending ones, and after the last of those the sequence's draft.

    Sequences of one adapter stand together, so that each adapter is one segment of the row.
    """

    sequences: Many[Sequence]
    counts: Many[int]
    rounds: int = 0  # how often the model goes on by itself; 0 where logits are wanted

    @classmethod
    def of(cls, counts: dict[Sequence, int], rounds: int = 0) -> Batch:
        """Put the sequences into the order in which they cost least."""
        order = sorted(counts, key=_order)
        return cls(order, [counts[sequence] for sequence in order], rounds)

    def decoded(self, tokens: Many[Many[int]]) -> Batch:
        """The batch after its rounds, in which each sequence was given `tokens`: all but the last were its draft."""
        for sequence, own in zip(self.sequences, tokens, strict=True):
            sequence.draft = own[:-1]
        return Batch(self.sequences, [len(own) for own in tokens], self.rounds)

    @property
    def num_tokens(self) -> int:
        return sum(self.counts)

    @property
    def num_prompt_tokens(self) -> int:
        pairs = zip(self.sequences, self.counts, strict=True)
        return sum(count for sequence, count in pairs if 1 < count <= sequence.num_pending)

    @cached_property
    def due(self) -> list[int]:
        """After how many of its tokens, the last ones, each sequence is due another: mostly 0 or 1."""
        pairs = zip(self.sequences, self.counts, strict=True)
        return [max(0, count - sequence.num_pending + 1) for sequence, count in pairs]

    @cached_property
    def finished(self) -> list[Sequence]:
        """Those whose next token is known after this step, in order, each as often as it is due one."""
        pairs = zip(self.sequences, self.due, strict=True)
        return [sequence for sequence, due in pairs for _ in range(due)]

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids and positions [num_tokens] of the flat row."""
        ids: list[int] = []
        positions: list[int] = []
        for sequence, count in zip(self.sequences, self.counts, strict=True):
            start = sequence.computed
            if count == 1:
                ids.append(sequence.ids[start])
                positions.append(start)
            else:
                ids += sequence.ids[start : start + count]
                ids += sequence.draft
                positions += range(start, start + count)
        return torch.tensor(ids, device=device), torch.tensor(positions, device=device)

    def chunks(self) -> list[Chunk]:
        """The same row as the cache sees it."""
        chunks = []
        for sequence, count in zip(self.sequences, self.counts, strict=True):
            assert sequence.extent is not None
            chunks.append(Chunk(sequence.extent, sequence.computed, count))
        return chunks

    def segments(self) -> list[Segment]:
        """Which parts of the row go through which adapter."""
        segments: list[Segment] = []
        at = 0
        for sequence, count in zip(self.sequences, self.counts, strict=True):
            end, last = at + count, segments[-1] if segments else None
            if last and last.adapter is sequence.adapter and last.stop == at:
                segments[-1] = Segment(last.adapter, last.start, end)
            elif sequence.adapter is not None:
                segments.append(Segment(sequence.adapter, at, end))
            at = end
        return segments

    def wanted_rows(self, device: torch.device) -> Tensor | None:
        """Rows whose logits are wanted; None for every row.

        They are those of `finished`, and all of a sequence whose prompt is scored.
        """
        rows: list[int] = []
        at = 0
        for sequence, count, due in zip(self.sequences, self.counts, self.due, strict=True):
            at += count
            rows += range(at - (count if sequence.needs_prompt_rows else due), at)
        return None if len(rows) == at else torch.tensor(rows, device=device)


def _order(sequence: Sequence) -> tuple[int, int]:
    assert sequence.extent is not None
    return id(sequence.adapter) if sequence.adapter else 0, sequence.extent.start
