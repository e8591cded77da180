"""A model in plain torch on any device; on a processor, the oracle of the native one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from baigong.inference.engine.batch import Batch
from baigong.inference.engine.cache import ArenaCache, Cache
from baigong.inference.engine.decoder import Decoder
from baigong.inference.engine.embedding import Reads, Texts, choose, embed
from baigong.inference.engine.lora import LoraAdapter, load_adapter
from baigong.inference.engine.messages import Task
from baigong.inference.engine.pace import Pace, no_pace
from baigong.inference.engine.pooling import Pooling
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ModelConfig, Sizes

_SMALL_STEP = 64_000_000  # multiplications below which waking a second thread takes longer
_DRAFT_ROWS = 16


class Model(Reads, Protocol):
    """What the loop drives: weights, their cache, and one step at a time.

    It is asked only what is among its `tasks`.
    """

    @property
    def config(self) -> Sizes: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def num_parameters(self) -> int: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """What a classifier can tell."""
        ...

    # How often in a row `decode` may choose tokens; 0: it has none.
    most_rounds: int

    @property
    def draft_rows(self) -> int:
        """Tokens of a step up to which guesses cost less than they save; 0: it takes none."""
        ...

    @property
    def cache(self) -> Cache:
        """Room for the sequences that `forward` works on."""
        ...

    def forward(self, batch: Batch) -> Tensor | None:
        """Logits [wanted, vocabulary] of `batch.wanted_rows`; None when no row is wanted."""
        ...

    def decode(self, batch: Batch, rounds: int) -> list[list[int]]:
        """Each sequence's likeliest next tokens, chosen and fed back `rounds` times, or until one is BROKEN."""
        ...

    def load_adapter(self, name: str, folder: Path, pace: Pace = no_pace) -> LoraAdapter:
        """Read a PEFT folder for this base; called from threads of its own, which `pace` slows down."""
        ...


class PlainModel:
    """See Model."""

    tasks: tuple[Task, ...] = ("generate", "embed", "choose")
    most_rounds = 0
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        dtype: torch.dtype,
        tokens: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.num_parameters = weights.size
        self.draft_rows = _DRAFT_ROWS if device.type == "cpu" else 0  # measured nowhere else
        self.cache = ArenaCache(config, tokens, dtype, device)
        self._decoder = Decoder(config, weights, dtype, device)
        self._pooling = Pooling.of(config.vectors)
        self._threads = self._threads_now = torch.get_num_threads()

    def forward(self, batch: Batch) -> Tensor | None:
        is_small = batch.num_tokens * self.num_parameters < _SMALL_STEP
        self._use_threads(1 if is_small else self._threads)
        ids, positions = batch.inputs(self.device)
        attend = self.cache.plan(batch.chunks())
        hidden = self._decoder.hidden(ids, positions, attend, batch.segments())
        rows = batch.wanted_rows(self.device)
        if rows is not None:
            if not len(rows):
                return None
            hidden = hidden.index_select(0, rows)
        return self._decoder.logits(hidden)

    def decode(self, batch: Batch, rounds: int) -> list[list[int]]:
        raise NotImplementedError

    def embed(self, texts: Texts) -> Tensor:
        self._use_threads(self._threads)
        return embed(texts, self._decoder, self._pooling)

    def choose(self, texts: Texts, tokens: Sequence[int]) -> Tensor:
        self._use_threads(self._threads)
        return choose(texts, tokens, self._decoder)

    def classify(self, texts: Texts, seconds: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def look(self, images: Sequence[bytes]) -> Tensor:
        raise NotImplementedError

    def load_adapter(self, name: str, folder: Path, pace: Pace = no_pace) -> LoraAdapter:
        return load_adapter(name, folder, self.config, self._decoder.dtype, self.device)

    def _use_threads(self, threads: int) -> None:
        if threads != self._threads_now:
            torch.set_num_threads(threads)
            self._threads_now = threads
