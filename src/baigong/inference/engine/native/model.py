"""A model on the processor through forward.cpp; plain.py is the same in torch, and its oracle."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from baigong.inference.engine.batch import Batch
from baigong.inference.engine.cache import Extent, Extents, zeros
from baigong.inference.engine.decoder import PROJECTIONS, projection_shapes
from baigong.inference.engine.embedding import Texts
from baigong.inference.engine.lora import LoraAdapter, read_adapter
from baigong.inference.engine.messages import Task
from baigong.inference.engine.native import build, structs
from baigong.inference.engine.native.pack import (
    Form,
    interleaved,
    pack,
    pack_adapter,
)
from baigong.inference.engine.native.packed import Memory, built
from baigong.inference.engine.native.structs import address
from baigong.inference.engine.pace import Pace, no_pace
from baigong.inference.engine.pooling import Pooling
from baigong.inference.engine.rope import rotary_table
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ModelConfig
from baigong.model.vectors import Vectors

_PAGE = 32  # tokens, as in attention.h
_INT32 = 4


def library_for(config: ModelConfig) -> ctypes.CDLL | None:
    """The compiled forward pass where there is one and it can run such a model."""
    if not config.is_packable:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return build.library(base / "baigong")


class NativeCache(Extents):
    """Keys and values [layers, pages, kv_heads, _PAGE * head_dim], which only forward.cpp looks into."""

    def __init__(self, config: ModelConfig, tokens: int, dtype: torch.dtype) -> None:
        super().__init__(tokens)
        shape = (config.layers, -(-tokens // _PAGE), config.kv_heads, _PAGE * config.head_dim)
        self.keys = zeros(shape, dtype, torch.device("cpu"))
        self.values = zeros(shape, dtype, torch.device("cpu"))

    @override
    def copy(self, old: Extent, new: Extent, used: int) -> None:
        """Copy the first `used` tokens, in whole pages."""
        source, target, pages = old.start // _PAGE, new.start // _PAGE, -(-used // _PAGE)
        for side in (self.keys, self.values):
            side[:, target : target + pages] = side[:, source : source + pages]

    @override
    def wipe(self, extent: Extent) -> None:
        first, pages = extent.start // _PAGE, -(-extent.capacity // _PAGE)
        for side in (self.keys, self.values):
            side[:, first : first + pages] = 0


@dataclass(frozen=True, slots=True, eq=False)
class NativeAdapter(LoraAdapter):
    """An adapter as a table [layers, 4] of additions, with the memory that it points into."""

    table: ctypes.Array[structs.Lora]
    ranks: int  # the largest of the table
    held: tuple[object, ...]


class NativeModel:
    """Weights packed for forward.cpp, and the cache that it reads and writes."""

    tasks: tuple[Task, ...] = ("generate", "embed", "choose")
    labels: tuple[str, ...] = ()
    draft_rows = 32
    most_rounds = 16

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        kind: str,
        tokens: int,
        library: ctypes.CDLL,
        threads: int,
        packed: Path | None = None,
    ) -> None:
        """Pack the weights as `kind`, with room for `tokens` in the cache.

        What takes long to pack is kept in the folder `packed`. The output head of an int4 model, which
        is its embedding too where the two are tied, stays int8: it is read once for each token and
        loses the most.

        Raises:
            InvalidInput: a tensor is missing or has the wrong shape.
            Unsupported: a kind of rope scaling this engine does not know.
        """
        self.config = config
        self.device = torch.device("cpu")
        self.num_parameters = weights.size
        self._pooling = Pooling.of(config.vectors)
        self.dtype = torch.float32 if kind == "float32" else torch.bfloat16
        self.cache = NativeCache(config, tokens, self.dtype)
        self._pages = np.arange(-(-tokens // _PAGE), dtype=np.int32)
        self._library = library
        packer = _Packer(config, weights, kind, library, threads)
        # To lay bfloat16 or float32 out anew takes little longer than to read it.
        folder = packed if kind in ("int8", "int4") else None
        (struct, *self._held), memory = built(packer.model, folder, packer.key)
        self._held.append(memory)
        torch.set_num_threads(1)  # all that is left to torch is choosing tokens
        self._engine = ctypes.c_void_p(library.bg_open(ctypes.byref(struct), threads))

    def forward(self, batch: Batch) -> Tensor | None:
        """Logits [wanted, vocabulary] of `batch.wanted_rows`; None when no row is wanted."""
        rows = batch.wanted_rows(self.device)
        wanted = torch.arange(batch.num_tokens) if rows is None else rows
        logits = torch.empty(len(wanted), self.config.vocabulary) if len(wanted) else None
        step, held = self._of_batch(batch)
        wanted = wanted.to(torch.int32)
        step.wanted, step.wanted_rows = len(wanted), address(wanted)
        step.logits = address(logits)
        self._library.bg_forward(self._engine, ctypes.byref(step))
        del held
        return logits

    def decode(self, batch: Batch, rounds: int) -> list[list[int]]:
        """See Model."""
        size = len(batch.sequences)
        step, held = self._of_batch(batch)
        rows, tokens = np.arange(size, dtype=np.int32), np.empty((rounds, size), np.int32)
        logits = np.empty((size, self.config.vocabulary), np.float32)
        step.wanted, step.wanted_rows, step.logits = size, address(rows), address(logits)
        step.tokens = address(tokens)
        done = self._library.bg_decode(self._engine, ctypes.byref(step), rounds)
        del held
        chosen: list[list[int]] = tokens[:done].T.tolist()
        return chosen

    def _of_batch(self, batch: Batch) -> tuple[structs.Step, tuple[object, ...]]:
        """A step without what is wanted of it, and what it points to."""
        ids, positions = batch.inputs(self.device)
        spans = [(c.extent.start // _PAGE, c.count, c.past) for c in batch.chunks()]
        step, held = self._step(ids, positions, spans, self._pages)
        segments = batch.segments()
        table = (structs.Segment * len(segments))()
        for place, segment in zip(table, segments, strict=True):
            assert isinstance(segment.adapter, NativeAdapter)
            place.start, place.stop = segment.start, segment.stop
            place.ranks = segment.adapter.ranks
            place.parts = ctypes.addressof(segment.adapter.table)
        step.segments, step.segment = len(segments), table
        step.keys, step.values = address(self.cache.keys), address(self.cache.values)
        step.layer_stride = self.cache.keys.stride(0) * self.dtype.itemsize
        return step, (held, table)

    def embed(self, texts: Texts) -> Tensor:
        """See Reads."""
        hidden, _ = self._read(texts)
        return self._pooling(torch.split(hidden, [len(text) for text in texts]))

    def choose(self, texts: Texts, tokens: Sequence[int]) -> Tensor:
        """See Reads."""
        last = torch.tensor([len(text) for text in texts]).cumsum(0) - 1
        _, logits = self._read(texts, last)
        return logits[:, list(tokens)].softmax(-1)

    def classify(self, texts: Texts, seconds: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def look(self, images: Sequence[bytes]) -> Tensor:
        raise NotImplementedError

    def _read(self, texts: Texts, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Last hidden states [tokens, hidden_size] of whole texts, or logits of `rows`; not cached."""
        config, lengths = self.config, [len(text) for text in texts]
        ids = torch.tensor([id for text in texts for id in text])
        positions = torch.cat([torch.arange(n) for n in lengths])
        spans, page = [], 0
        for length in lengths:
            spans.append((page, length, 0))
            page += -(-length // _PAGE)
        pages = np.arange(page, dtype=np.int32)
        step, held = self._step(ids, positions, spans, pages)
        # All layers share one layer's room: none looks back at another's.
        room = torch.zeros(2, page, config.kv_heads, _PAGE * config.head_dim, dtype=self.dtype)
        hidden, logits = torch.empty(0), torch.empty(0)
        step.keys, step.values = address(room[0]), address(room[1])
        if rows is None:
            hidden = torch.empty(len(ids), config.hidden_size)
            step.hidden = address(hidden)
        else:
            wanted, logits = rows.to(torch.int32), torch.empty(len(rows), config.vocabulary)
            step.wanted, step.wanted_rows = len(wanted), address(wanted)
            step.logits = address(logits)
        self._library.bg_forward(self._engine, ctypes.byref(step))
        del held
        return hidden, logits

    def load_adapter(self, name: str, folder: Path, pace: Pace = no_pace) -> NativeAdapter:
        """Read and pack a PEFT folder; see lora.read_adapter for what can be wrong with it."""
        pairs = read_adapter(folder, self.config, pace)
        table, held = pack_adapter(self._library, pairs, self.config, self.dtype, pace)
        # Beside the weights there are tables, which all adapters share.
        size = sum(part.nbytes for part in held if isinstance(part, Tensor))
        return NativeAdapter(name, (), size, table, max(part.rank for part in table), held)

    def _step(
        self,
        ids: Tensor,
        positions: Tensor,
        spans: list[tuple[int, int, int]],
        pages: np.ndarray,
    ) -> tuple[structs.Step, tuple[object, ...]]:
        """A step over sequences given as (first of `pages`, tokens, past), and what it points to."""
        ids, positions = ids.to(torch.int32), positions.to(torch.int32)
        sequences = (structs.Sequence * len(spans))()
        first = address(pages) or 0
        start = 0
        for place, (page, count, past) in zip(sequences, spans, strict=True):
            place.start, place.count, place.past = start, count, past
            place.pages = first + page * _INT32  # an extent's pages lie side by side
            start += count
        step = structs.Step(rows=len(ids), sequences=len(spans))
        step.ids, step.positions, step.sequence = address(ids), address(positions), sequences
        return step, (ids, positions, sequences)


class _Packer:
    """Reads a checkpoint's tensors into forward.cpp's structures."""

    def __init__(
        self, config: ModelConfig, weights: Weights, kind: str, library: ctypes.CDLL, threads: int
    ) -> None:
        self._config = config
        self._weights = weights
        self._kind = kind
        self._library = library
        self._threads = threads

    @property
    def key(self) -> str:
        """Names what a packed file depends on: the checkpoint, the kind, and who laid it out."""
        config = msgspec.structs.replace(self._config, context=0, vectors=Vectors())
        facts = repr((self._weights.identity, config, self._kind, self._library._name))
        mark = sha256(facts.encode())
        for name in ("model.py", "pack.py"):
            mark.update(Path(__file__).with_name(name).read_bytes())
        return mark.hexdigest()[:32]

    def model(self, memory: Memory) -> tuple[structs.Model, object, Tensor, Tensor]:
        """The model over blocks of `memory`, and what else it points to."""
        config = self._config
        layers = [self._layer(memory, number) for number in range(config.layers)]
        table = (structs.Layer * config.layers)(*layers)
        embedding = self._edge(memory, "model.embed_tokens.weight")
        head = embedding if config.is_tied else self._edge(memory, "lm_head.weight")
        cos, sin = rotary_table(config.rope, config.head_dim, config.context)
        struct = structs.Model(
            config.layers,
            config.hidden_size,
            config.inner_size,
            config.heads,
            config.kv_heads,
            config.head_dim,
            config.vocabulary,
            self._kind == "float32",
            config.norm_epsilon,
            config.head_dim**-0.5,
            table,
            embedding,
            head,
            self._norm(memory, "model.norm.weight"),
            address(cos),
            address(sin),
        )
        return struct, table, cos, sin

    def _layer(self, memory: Memory, number: int) -> structs.Layer:
        config, prefix = self._config, f"model.layers.{number}"
        layer = structs.Layer(
            self._norm(memory, f"{prefix}.input_layernorm.weight"),
            self._norm(memory, f"{prefix}.post_attention_layernorm.weight"),
        )
        if config.has_qk_norm:
            layer.qk_norm = self._qk_norm(memory, f"{prefix}.self_attn")
        layer.qkv = self._projection(memory, prefix, "qkv", has_bias=config.qkv_bias)
        layer.out = self._projection(memory, prefix, "out", has_bias=config.out_bias)
        layer.gate_up = self._projection(memory, prefix, "gate_up", has_bias=config.mlp_bias)
        layer.down = self._projection(memory, prefix, "down", has_bias=config.mlp_bias)
        layer.window = config.windows[number] or 0
        return layer

    def _edge(self, memory: Memory, name: str) -> structs.Matrix:
        """The embedding or the head."""
        shape = (self._config.vocabulary, self._config.hidden_size)
        form = Form("int8" if self._kind == "int4" else self._kind, *shape, has_bias=False)

        def fill(block: np.ndarray) -> None:
            weight = self._weights.get(name, shape)
            pack(self._library, form, block, weight, threads=self._threads)

        return form.at(memory.take(form.stops[-1], fill))

    def _projection(
        self, memory: Memory, prefix: str, name: str, *, has_bias: bool
    ) -> structs.Matrix:
        shapes, modules, get = projection_shapes(self._config), PROJECTIONS[name], self._weights.get
        outputs = sum(shapes[module][0] for module in modules)
        form = Form(self._kind, outputs, shapes[modules[0]][1], has_bias)

        def fill(block: np.ndarray) -> None:
            weight = torch.cat([get(f"{prefix}.{m}.weight", shapes[m]) for m in modules])
            bias = None
            if has_bias:
                bias = torch.cat([get(f"{prefix}.{m}.bias", shapes[m][:1]) for m in modules])
            order = interleaved(self._config.inner_size) if name == "gate_up" else None
            pack(self._library, form, block, weight, bias, order, self._threads)

        return form.at(memory.take(form.stops[-1], fill))

    def _norm(self, memory: Memory, name: str) -> int:
        size = self._config.hidden_size
        return _vector(memory, size, lambda: self._weights.get(name, (size,)))

    def _qk_norm(self, memory: Memory, prefix: str) -> int:
        config = self._config

        def both() -> Tensor:
            q, k = (
                self._weights.get(f"{prefix}.{n}_norm.weight", (config.head_dim,)) for n in "qk"
            )
            return torch.cat((q.expand(config.heads, -1), k.expand(config.kv_heads, -1)))

        return _vector(memory, (config.heads + config.kv_heads) * config.head_dim, both)


def _vector(memory: Memory, size: int, read: Callable[[], Tensor]) -> int:
    """Where `size` float32 numbers lie."""

    def fill(block: np.ndarray) -> None:
        block.view(np.float32)[:] = read().float().flatten().numpy()

    return memory.take(4 * size, fill)
