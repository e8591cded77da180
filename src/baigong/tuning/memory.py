"""What a training process holds, and how many tokens it therefore lets through the model at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from baigong.compute import multiplies_bfloat16
from baigong.tuning.base import NUMBERS, USUAL, Base
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.spec import WHOLE, Settings

LOGITS = 1 << 24  # at once, as numbers: 64 MiB of them in float32
# Bytes on a processor for what the backward pass needs: of texts, and of pictures, where what is
# normalised over a batch should see many at once.
ROOM = 1 << 28
SIGHT = 1 << 30
_FEWEST = 448  # tokens that are worth a pass: with more a base of 0.6 B takes the same time
# Rows are padded to a multiple of this: the processor's library compiles a kernel for every shape
# that it meets, and keeps it. 43 steps of mixed lengths: 1.5 GiB, of 8 it is 1.63; as fast.
WIDTHS = 16

# All measured on a processor.
_START = 450 << 20  # bytes of torch, transformers and peft
_KERNELS = {"adapter": 9 << 20, "full": 4 << 20}  # bytes of kernels for a width
# Bytes that are kept of each number that goes into or comes out of a block's linear layers, for a
# token: in float32, and where products are bfloat16.
_KEPT = {"adapter": (4.4, 3.04), "full": (5.15, 3.7)}
_DROPPED = (2, 1)  # and of each that goes in, where an adapter drops some
# Bytes of a logit while it is worked out: one of a head that stays as it is, and one of another.
_LOGIT = {"adapter": (4, 8), "full": (12, 12)}
# What is freed in other sizes than it is asked for again stays with the process: of all that a pass
# takes, and bytes more where matrices are bfloat16 and what runs through them is float32.
_HEAP = 1.85
_MIXED = 72 << 20


def tokens_at_once(layers: int, hidden: int, room: int, *, is_bfloat16: bool) -> int:
    """How many tokens may go through a model together, by what a backward pass keeps of each.

    More at once than fill the machine's units gain nothing, and what they keep would not be there
    for a larger model.
    """
    return max(_FEWEST, room // (NUMBERS * (2 if is_bfloat16 else 4) * layers * hidden))


def split(examples: Sequence[Any], tokens: int) -> Iterator[list[Any]]:
    """The examples in parts of like length, none of more than `tokens` padded tokens or of one."""
    part: list[Any] = []
    for example in sorted(examples, key=lambda example: example.length):
        if part and (len(part) + 1) * example.length > tokens:
            yield part
            part = []
        part.append(example)
    if part:
        yield part


@dataclass(frozen=True, slots=True)
class Held:
    """What one tuning holds, in bytes.

    Attributes:
        trained: numbers that have a gradient.
        others: numbers that stand beside and are only read.
    """

    prepared: Prepared[Any]
    base: Base
    settings: Settings
    trained: int
    others: int

    @property
    def total(self) -> int:
        """At most: at the end of a forward pass, with the gradients of the parts before it.

        The optimiser keeps two moments, and the best weights so far stay where there is validation.
        """
        train, size = self.prepared.train, self.settings.batch_size
        longest = sorted(train, key=lambda example: example.length)[-size:]
        parts = list(split(longest, self._at_once))
        passing = round(_HEAP * (self._cast + max(map(self._passing, parts))))
        gradients = 4 * self.trained
        kept = (12 if self.prepared.validation else 8) * self.trained
        once = max(gradients, passing) if len(parts) == 1 else gradients + passing
        held = self._weights + kept + once + (_MIXED if self._is_halved else 0)
        widths = len({-(-example.length // WIDTHS) for example in train})
        kernels = _KERNELS[self._kind] * min(widths, self.settings.steps)
        return _START + max(self._loading, kernels + held)

    @property
    def _kind(self) -> str:
        return "adapter" if self.settings.is_adapter else "full"

    @property
    def _at_once(self) -> int:
        base, is_bfloat16 = self.base, multiplies_bfloat16()
        if base.vocabulary:
            return tokens_at_once(base.layers, base.hidden, ROOM, is_bfloat16=is_bfloat16)
        return max(1, round(SIGHT / self._unit))

    @property
    def _is_kept(self) -> bool:
        """Whether weights stay in bfloat16 as they are stored."""
        is_whole = self.settings.objective in WHOLE or not self.settings.is_adapter
        return self.base.is_bfloat16 and multiplies_bfloat16() and not is_whole

    @property
    def _is_halved(self) -> bool:
        """Whether the matrices are held in bfloat16, the rest of the base in float32."""
        is_held = self.settings.makes_adapter and not self._is_kept
        return is_held and multiplies_bfloat16()

    @property
    def _head(self) -> int:
        return self.base.vocabulary * self.base.hidden

    @property
    def _weights(self) -> int:
        """Those of the model, of what stands beside it, and of its adapter."""
        added = 4 * self.trained if self.settings.is_adapter else 0
        base = (2 if self._is_kept else 4) * self.base.parameters
        if self._is_halved:
            base -= 2 * (self.base.products + (0 if self.base.is_tied else self._head))
        return base + 4 * self.others + added

    @property
    def _loading(self) -> int:
        """What is there once, when a base has been copied and its files are still in memory."""
        return 4 * self.base.parameters + self._weights if self._is_halved else 0

    @property
    def _cast(self) -> int:
        """The bfloat16 that a pass makes of weights in float32."""
        if self._is_kept or not multiplies_bfloat16():
            return 0
        if self._is_halved:
            return 2 * self._head if self.base.is_tied else 0
        return 2 * (self.base.products + self._head)

    @property
    def _unit(self) -> float:
        """What a forward pass keeps of a token, or of a picture."""
        base, settings, is_bfloat16 = self.base, self.settings, multiplies_bfloat16()
        numbers = max(sum(base.linear.values()), USUAL * base.layers * base.hidden)
        kept = numbers * _KEPT[self._kind][is_bfloat16]
        if settings.is_adapter and settings.dropout:
            kept += base.inputs * _DROPPED[is_bfloat16]
        return kept

    def _passing(self, part: Sequence[Any]) -> int:
        """What a forward pass of some examples keeps, and the logits that are there at once."""
        length: int = len(part) * max(example.length for example in part)
        logits: int = self.base.vocabulary * sum(example.scored for example in part)
        if self.settings.objective == "distill":  # a teacher's too, and both as shares, all at once
            return round(length * self._unit) + 9 * 4 * logits
        each = _LOGIT[self._kind][multiplies_bfloat16()]
        return round(length * self._unit) + each * min(LOGITS, logits)
