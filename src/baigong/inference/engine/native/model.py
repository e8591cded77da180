"""A model on the processor through forward.cpp; plain.py is the same in torch, and its oracle."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from baigong.hub.architecture import ModelConfig
from baigong.inference.engine.batch import Batch
from baigong.inference.engine.cache import Extent, Extents, zeros
from baigong.inference.engine.decoder import PROJECTIONS, projection_shapes
from baigong.inference.engine.embedding import Texts
from baigong.inference.engine.lora import LoraAdapter, read_adapter
from baigong.inference.engine.messages import Task
from baigong.inference.engine.native import build, structs
from baigong.inference.engine.native.pack import (
    Packed,
    Part,
    interleaved,
    pack,
    pack_lora,
)
from baigong.inference.engine.native.structs import address
from baigong.inference.engine.pooling import Pooling
from baigong.inference.engine.rope import rotary_table
from baigong.inference.engine.weights import Weights

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

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        kind: str,
        tokens: int,
        library: ctypes.CDLL,
        threads: int,
    ) -> None:
        """Pack the weights as `kind`, with room for `tokens` in the cache.

        The output head of an int4 model, which is its embedding too where the two are tied, stays int8:
        it is read once for each token and loses the most.

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
        self._held, struct = _Packer(config, weights, kind, library, threads).model()
        torch.set_num_threads(1)  # all that is left to torch is choosing tokens
        self._engine = ctypes.c_void_p(library.bg_open(ctypes.byref(struct), threads))

    def forward(self, batch: Batch) -> Tensor | None:
        """Logits [wanted, vocabulary] of `batch.wanted_rows`; None when no row is wanted."""
        ids, positions = batch.inputs(self.device)
        rows = batch.wanted_rows(self.device)
        wanted = torch.arange(batch.num_tokens) if rows is None else rows
        logits = torch.empty(len(wanted), self.config.vocabulary) if len(wanted) else None
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
        wanted = wanted.to(torch.int32)
        step.wanted, step.wanted_rows = len(wanted), address(wanted)
        step.keys, step.values = address(self.cache.keys), address(self.cache.values)
        step.layer_stride = self.cache.keys.stride(0) * self.dtype.itemsize
        step.logits = address(logits)
        self._library.bg_forward(self._engine, ctypes.byref(step))
        del held
        return logits

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

    def load_adapter(self, name: str, folder: Path) -> NativeAdapter:
        """Read and pack a PEFT folder; see lora.read_adapter for what can be wrong with it."""
        config = self.config
        table = (structs.Lora * (config.layers * len(PROJECTIONS)))()
        held: list[object] = []
        for layer, found in read_adapter(folder, config).items():
            for column, (projection, members) in enumerate(PROJECTIONS.items()):
                parts, at = [], 0
                for member in members:
                    width = projection_shapes(config)[member][0]
                    if member in found:
                        parts.append(Part(at, at + width, *found[member]))
                    at += width
                if parts:
                    order = interleaved(config.inner_size) if projection == "gate_up" else None
                    struct, memory = pack_lora(parts, at, self.dtype, order)
                    table[layer * len(PROJECTIONS) + column] = struct
                    held.append(memory)
        return NativeAdapter(name, (), table, max(part.rank for part in table), tuple(held))

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
        self._held: list[object] = []

    def model(self) -> tuple[list[object], structs.Model]:
        config = self._config
        sizes = (config.vocabulary, config.hidden_size)
        layers = (structs.Layer * config.layers)(*map(self._layer, range(config.layers)))
        edge = "int8" if self._kind == "int4" else self._kind
        embedding = self._pack(self._weights.get("model.embed_tokens.weight", sizes), kind=edge)
        head = embedding
        if not config.is_tied:
            head = self._pack(self._weights.get("lm_head.weight", sizes), kind=edge)
        cos, sin = rotary_table(config.rope, config.head_dim, config.context)
        self._held += [layers, cos, sin]
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
            layers,
            embedding,
            head,
            self._vector("model.norm.weight", config.hidden_size),
            address(cos),
            address(sin),
        )
        self._held.append(struct)
        return self._held, struct

    def _layer(self, number: int) -> structs.Layer:
        config, prefix = self._config, f"model.layers.{number}"
        layer = structs.Layer(
            self._vector(f"{prefix}.input_layernorm.weight", config.hidden_size),
            self._vector(f"{prefix}.post_attention_layernorm.weight", config.hidden_size),
        )
        if config.has_qk_norm:
            q, k = (
                self._weights.get(f"{prefix}.self_attn.{n}_norm.weight", (config.head_dim,)).float()
                for n in "qk"
            )
            layer.qk_norm = self._hold(
                torch.cat((q.expand(config.heads, -1), k.expand(config.kv_heads, -1)))
            )
        layer.qkv = self._projection(prefix, "qkv", has_bias=config.qkv_bias)
        layer.out = self._projection(prefix, "out", has_bias=config.out_bias)
        layer.gate_up = self._projection(prefix, "gate_up", has_bias=config.mlp_bias)
        layer.down = self._projection(prefix, "down", has_bias=config.mlp_bias)
        layer.window = config.windows[number] or 0
        return layer

    def _projection(self, prefix: str, name: str, *, has_bias: bool) -> structs.Matrix:
        shapes, modules, get = projection_shapes(self._config), PROJECTIONS[name], self._weights.get
        weight = torch.cat([get(f"{prefix}.{m}.weight", shapes[m]) for m in modules])
        bias = None
        if has_bias:
            bias = torch.cat([get(f"{prefix}.{m}.bias", shapes[m][:1]) for m in modules])
        order = interleaved(self._config.inner_size) if name == "gate_up" else None
        return self._pack(weight, bias, order)

    def _pack(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        order: np.ndarray | None = None,
        kind: str | None = None,
    ) -> structs.Matrix:
        packed: Packed = pack(self._library, weight, kind or self._kind, bias, order, self._threads)
        self._held.append(packed.held)
        return packed.struct

    def _vector(self, name: str, size: int) -> int:
        return self._hold(self._weights.get(name, (size,)).float())

    def _hold(self, tensor: Tensor) -> int:
        tensor = tensor.contiguous().clone()  # not the file's own pages
        self._held.append(tensor)
        return tensor.data_ptr()
