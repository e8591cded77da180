"""Models that we have no code of our own for, through transformers: slower, and as its authors wrote them.

Imported only where such a model is served: transformers takes seconds to load.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import torch
import transformers
from torch import Tensor
from typing_extensions import override

from baigong.errors import InvalidInput, Unsupported
from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.cache import Extent, Extents, room_for
from baigong.inference.engine.embedding import Texts
from baigong.inference.engine.foreign_lora import ForeignAdapters
from baigong.inference.engine.lora import LoraAdapter
from baigong.inference.engine.messages import EngineConfig, Task
from baigong.inference.engine.pace import Pace, no_pace
from baigong.inference.engine.pooling import Pooling
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import Sizes
from baigong.model.vectors import Vectors

_SMALLEST = 64  # tokens of an account
_CONTEXT = 2048  # of models that do not name one, as theirs has no end

transformers.utils.logging.disable_progress_bar()


class Room(Extents):
    """An account of tokens; what is held of them lies with the model."""

    @override
    def copy(self, old: Extent, new: Extent, used: int) -> None:
        pass

    @override
    def wipe(self, extent: Extent) -> None:
        pass


class Foreign:
    """A model of transformers. What it cannot do is not among its `tasks`."""

    tasks: tuple[Task, ...] = ()
    labels: tuple[str, ...] = ()
    draft_rows = 0  # its caches cannot take tokens back
    most_rounds = 0

    def __init__(self, kind: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        """Load `folder` through the automatic class `kind`.

        Raises:
            Unsupported: it would take code of the folder's own, or pickled weights.
            InvalidInput: the files are broken or do not belong together.
        """
        self.device = device
        self.num_parameters = Weights(folder).size  # which refuses what is pickled
        self.cache = Room(_SMALLEST)
        self._model = _open(kind, folder, dtype).to(device).eval()
        self._fields = self._model.config.get_text_config()
        self._accepts = frozenset(inspect.signature(self._model.forward).parameters)
        self.config = _sizes(self._model, self._fields)

    def forward(self, batch: Batch) -> Tensor | None:
        raise NotImplementedError

    def decode(self, batch: Batch, rounds: int) -> list[list[int]]:
        raise NotImplementedError

    def embed(self, texts: Texts) -> Tensor:
        raise NotImplementedError

    def choose(self, texts: Texts, tokens: Many[int]) -> Tensor:
        raise NotImplementedError

    def classify(self, texts: Texts, seconds: Many[int]) -> Tensor:
        raise NotImplementedError

    def look(self, images: Many[bytes]) -> Tensor:
        raise NotImplementedError

    def load_adapter(self, name: str, folder: Path, pace: Pace = no_pace) -> LoraAdapter:
        raise Unsupported(
            f"{folder.name} cannot be added: the model does not write.",
            hint="Merge it into the base with PEFT's merge_and_unload, and pull that.",
        )


@dataclass(slots=True)
class _State:
    """What a model holds of a sequence: the first `length` of its ids."""

    cache: Any
    length: int


class TransformersModel(Foreign):
    """Writes, one sequence after another in each step.

    Each has a cache of its own, kept as long as the sequence lives and made anew from its ids
    wherever that is not where the sequence stands: after it had to wait for room, or was found to
    begin like another.
    """

    tasks = ("generate", "embed", "choose")

    def __init__(
        self, folder: Path, dtype: torch.dtype, device: torch.device, config: EngineConfig
    ) -> None:
        super().__init__(transformers.AutoModelForCausalLM, folder, dtype, device)
        context = min(config.context or self.config.context, self.config.context)
        self.cache = Room(room_for(config, context, self._token_bytes(dtype)))
        context = min(context, self.cache.longest)
        self.config = msgspec.structs.replace(self.config, context=context)
        self._pooling = Pooling.of(Vectors.read(folder))
        self._adapters = ForeignAdapters(self._model)
        self._states: WeakKeyDictionary[Sequence, _State] = WeakKeyDictionary()
        # What such a model remembers of a prompt's first part does not always go on with the next:
        # it reads the whole at once, when the last part is due.
        self._is_recurrent = bool(getattr(self._model, "_is_stateful", False))
        # transformers 5.2x calls by the first name what was the second before.
        self._cache_name = "cache" if "cache" in self._accepts else "past_key_values"
        if self._cache_name not in self._accepts:
            raise Unsupported(
                f"The architecture '{self.config.architecture}' keeps another kind of cache."
            )

        self._try()

    def _try(self) -> None:
        """See that it can do what `forward` will ask: better now than in the middle of an answer."""
        options = {self._cache_name: transformers.DynamicCache(config=self._fields)}
        try:
            for ids in ([0, 0], [0]):
                self._logits(ids, 1, use_cache=True, **options)
        except Exception as error:
            raise Unsupported(
                f"The architecture '{self.config.architecture}' cannot be served step by step: "
                f"{type(error).__name__}: {error}"
            ) from error

    @override
    def forward(self, batch: Batch) -> Tensor | None:
        rows = []
        for sequence, count in zip(batch.sequences, batch.counts, strict=True):
            wanted = count if sequence.needs_prompt_rows else int(count == sequence.num_pending)
            if wanted or not self._is_recurrent:
                with self._adapters.using(sequence.adapter):
                    logits = self._advance(sequence, count, max(wanted, 1))
                rows += [logits[-wanted:]] if wanted else []
        return torch.cat(rows) if rows else None

    @override
    def embed(self, texts: Texts) -> Tensor:
        body = self._model.base_model
        with self._adapters.using(None):
            states = [body(input_ids=self._row(text)).last_hidden_state[0] for text in texts]
        return self._pooling(states)

    @override
    def choose(self, texts: Texts, tokens: Many[int]) -> Tensor:
        with self._adapters.using(None):
            rows = [self._logits(text, 1)[-1] for text in texts]
        return torch.stack(rows)[:, list(tokens)].softmax(-1, torch.float32)

    @override
    def load_adapter(self, name: str, folder: Path, pace: Pace = no_pace) -> LoraAdapter:
        return self._adapters.load(name, folder)

    def _advance(self, sequence: Sequence, count: int, wanted: int) -> Tensor:
        """Logits [at least wanted, vocabulary] after `count` more of the sequence's tokens."""
        state = self._states.get(sequence)
        is_cut = self._is_recurrent and count > 1
        if is_cut or state is None or state.length != sequence.computed:
            state = _State(transformers.DynamicCache(config=self._fields), 0)
            self._states[sequence] = state
        end = sequence.computed + count
        options = {self._cache_name: state.cache, "use_cache": True}
        logits = self._logits(sequence.ids[state.length : end], wanted, **options)
        state.length = end
        return logits

    def _logits(self, ids: Many[int], wanted: int, **options: Any) -> Tensor:
        if "logits_to_keep" in self._accepts:
            options["logits_to_keep"] = wanted
        logits: Tensor = self._model(input_ids=self._row(ids), **options).logits[0]
        return logits

    def _token_bytes(self, dtype: torch.dtype) -> int:
        """Memory of one cached token in all layers, as far as the configuration tells."""
        fields = self._fields
        heads = fields.num_attention_heads
        # Not the attribute: some configurations refuse to name one for layers that differ.
        size = fields.to_dict().get("head_dim") or fields.hidden_size // heads
        kept = getattr(fields, "num_key_value_heads", None) or heads
        return int(fields.num_hidden_layers * 2 * kept * size * dtype.itemsize)

    def _row(self, ids: Many[int]) -> Tensor:
        return torch.tensor([list(ids)], device=self.device)


def _open(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    try:
        model, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, KeyError, ImportError) as error:
        raise Unsupported(f"transformers cannot serve {folder.name}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"transformers cannot read {folder.name}: {error}") from error
    # A pooler is trained for one task of BERT's, and nothing here looks at it.
    missing = sorted(name for name in found["missing_keys"] if "pooler." not in name)
    if missing:
        raise InvalidInput(
            f"The weights in {folder.name} lack {missing[0]}.",
            hint="They do not belong to the config.json beside them.",
        )
    return model


def _sizes(model: Any, fields: Any) -> Sizes:
    context = next(
        (
            int(found)
            for name in ("max_position_embeddings", "max_seq_len", "seq_length")
            if (found := getattr(fields, name, None)) and found > 0
        ),
        _CONTEXT,
    )
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from the one after the padding's.
        if name.endswith("embeddings.position_embeddings"):
            skipped = getattr(module, "padding_idx", None)
            context = module.num_embeddings - (0 if skipped is None else skipped + 1)
    return Sizes(
        architecture=fields.model_type,
        vocabulary=getattr(fields, "vocab_size", 0),
        hidden_size=getattr(fields, "hidden_size", 0),
        layers=getattr(fields, "num_hidden_layers", 0),
        context=context,
    )
