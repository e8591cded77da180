"""The transformer: one piece of code for every architecture in `hub.families`.

It works on a flat row of tokens, whatever sequences they belong to. How tokens look at each other
is not its business: `attend` knows, and holds the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from baigong.inference.engine.experts import Experts
from baigong.inference.engine.messages import SMALL_MODEL
from baigong.inference.engine.rope import query_scales, rotary_table
from baigong.inference.engine.weights import Weights
from baigong.model.architecture import ExpertConfig, ModelConfig


class Attend(Protocol):
    """Attention of one step's tokens in one layer."""

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """From [tokens, heads + 2 * kv_heads, head_dim], rotated, to [tokens, heads * head_dim]."""
        ...


class LowRank(Protocol):
    """An adapter's addition to one projection."""

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add what x [tokens, in] makes to y [tokens, out], in place."""
        ...


class Adapter(Protocol):
    """Additions by layer and by the names in PROJECTIONS; None where it leaves one as it is."""

    @property
    def parts(self) -> Sequence[dict[str, LowRank]]: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens start:stop of the flat row go through this adapter."""

    adapter: Adapter
    start: int
    stop: int


# What adapters add in one layer, and which rows of the step are theirs.
Parts = list[tuple[dict[str, LowRank], int, int]]


@dataclass(frozen=True, slots=True)
class Linear:
    """x @ weight + bias, with weight [in, out]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one layer; q, k, v and gate, up are one matrix each, so that one product does."""

    attention_norm: Tensor
    attention_post_norm: Tensor | None
    mlp_norm: Tensor
    mlp_post_norm: Tensor | None
    qk_norm: Tensor | None  # [heads + kv_heads, head_dim]
    projections: dict[str, Linear]
    experts: Experts | None  # in the place of gate_up and down


# Our fused projections, and the modules of a Hugging Face checkpoint that they are made of.
PROJECTIONS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
# The norm before the MLP; and where they are, those after attention and after the MLP.
_NORMS = {
    False: ("post_attention_layernorm",),
    True: (
        "pre_feedforward_layernorm",
        "post_attention_layernorm",
        "post_feedforward_layernorm",
    ),
}
_FUSED = {"qkv": ("self_attn.qkv_proj",), "gate_up": ("mlp.gate_up_proj",)}

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


def projections(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """PROJECTIONS, of what this model's checkpoint calls its modules."""
    return PROJECTIONS | _FUSED if config.is_fused else PROJECTIONS


def projection_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """[out, in] of every module in `projections`."""
    wide, narrow = config.heads * config.head_dim, config.kv_heads * config.head_dim
    hidden, inner = config.hidden_size, config.inner_size
    if config.is_fused:
        return {
            "self_attn.qkv_proj": (wide + 2 * narrow, hidden),
            "self_attn.o_proj": (hidden, wide),
            "mlp.gate_up_proj": (2 * inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
    return {
        "self_attn.q_proj": (wide, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, wide),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


class Decoder:
    """A model's weights and how tokens pass through them."""

    def __init__(
        self, config: ModelConfig, weights: Weights, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Load the weights in `dtype` onto `device`.

        Raises:
            InvalidInput: a tensor is missing or has the wrong shape.
            Unsupported: a kind of rope scaling this engine does not know.
        """
        self.config = config
        self.dtype = dtype
        self.device = device
        self.num_parameters = weights.size
        load = _Loader(config, weights, dtype, device)
        sizes = (config.vocabulary, config.hidden_size)
        self._embedding = load.tensor("model.embed_tokens.weight", sizes)
        self._layers = [load.layer(number) for number in range(config.layers)]
        self._norm = load.norm("model.norm.weight", config.hidden_size)
        head = self._embedding if config.is_tied else load.tensor("lm_head.weight", sizes)
        self._head = Linear(load.laid_out(head), None)
        self._activation = _ACTIVATIONS[config.activation]
        # Of the model's own dtype, as in training: a bfloat16 of 33.9 is 34.
        self._embedding_scale = torch.tensor(config.embedding_scale, dtype=dtype).item()
        self._turns = [self._rotary(rope) for rope in (config.rope, config.local_rope) if rope]
        scales = query_scales(config.rope, config.context)
        self._query_scales = None if scales is None else scales.to(device, dtype)[:, None, None]

    def hidden(
        self, ids: Tensor, positions: Tensor, attend: Attend, segments: Sequence[Segment] = ()
    ) -> Tensor:
        """Last hidden states [tokens, hidden_size], normalised, of ids [tokens] at positions."""
        config = self.config
        turns = [(cos[positions], sin[positions]) for cos, sin in self._turns]
        scales = None if self._query_scales is None else self._query_scales[positions]
        x = F.embedding(ids, self._embedding)
        if self._embedding_scale != 1:
            x *= self._embedding_scale
        for number, layer in enumerate(self._layers):
            parts = [(s.adapter.parts[number], s.start, s.stop) for s in segments]
            y = self._normed(x, layer.attention_norm)
            qkv = _project(layer, "qkv", y, parts).view(len(y), -1, config.head_dim)
            is_local = config.windows[number] is not None
            self._rotate(qkv, layer.qk_norm, *turns[-1 if is_local else 0])
            if scales is not None:
                qkv[:, : config.heads] *= scales
            y = _project(layer, "out", attend(number, qkv), parts)
            x = x + self._normed(y, layer.attention_post_norm)
            y = self._mlp(layer, self._normed(x, layer.mlp_norm), parts)
            x += self._normed(y, layer.mlp_post_norm)
        return self._normed(x, self._norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """[tokens, vocabulary] of last hidden states [tokens, hidden_size]."""
        logits, cap = self._head(hidden), self.config.logit_softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def _normed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None:
            return x
        return F.rms_norm(x, (self.config.hidden_size,), weight, self.config.norm_epsilon)

    def _mlp(self, layer: Layer, x: Tensor, parts: Parts) -> Tensor:
        if layer.experts is not None:
            return layer.experts(x)
        gate, up = _project(layer, "gate_up", x, parts).chunk(2, -1)
        return _project(layer, "down", self._activation(gate) * up, parts)

    def _rotary(self, rope: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """[positions, 1, size] each, to stand beside [tokens, heads, head_dim]."""
        cos, sin = rotary_table(rope, self.config.head_dim, self.config.context)
        return (
            cos.to(self.device, self.dtype).unsqueeze(1),
            sin.to(self.device, self.dtype).unsqueeze(1),
        )

    def _rotate(self, qkv: Tensor, norm: Tensor | None, cos: Tensor, sin: Tensor) -> None:
        """Normalise, where the model does, and turn queries and keys to their positions, in place."""
        config = self.config
        qk = qkv[:, : config.heads + config.kv_heads]
        if norm is not None:
            qk.copy_(F.rms_norm(qk, (config.head_dim,), None, config.norm_epsilon)).mul_(norm)
        size = cos.shape[-1]
        if size < config.head_dim:
            qk = qk[..., :size]
        rolled = qk.roll(size // 2, -1)
        qk.mul_(cos).addcmul_(rolled, sin)


def _project(layer: Layer, name: str, x: Tensor, parts: Parts) -> Tensor:
    y = layer.projections[name](x)
    for adapter, start, stop in parts:
        addition = adapter.get(name)
        if addition is not None:
            addition.add(x[start:stop], y[start:stop])
    return y


class _Loader:
    """Reads a layer's tensors into our fused form."""

    def __init__(
        self, config: ModelConfig, weights: Weights, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._config = config
        self._weights = weights
        self._dtype = dtype
        self._device = device
        self._shapes = projection_shapes(config)
        # MKL reads a single row's float32 products 1.6 to 2.3 times as fast when the weights of one
        # input lie together; oneDNN's bfloat16 likes them as they come. Large models are spared the
        # second copy of a tied embedding that this takes.
        is_small = weights.size <= SMALL_MODEL
        self._must_turn = is_small and device.type == "cpu" and dtype == torch.float32

    def laid_out(self, weight: Tensor) -> Tensor:
        """[in, out] of a checkpoint's [out, in], in the order in which it is read fastest."""
        return weight.t().contiguous() if self._must_turn else weight.t()

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        # A copy even where nothing changes: the file's pages may be replaced under a map.
        return self._weights.get(name, shape).to(self._device, self._dtype, copy=True)

    def norm(self, name: str, size: int) -> Tensor:
        weight = self._weights.get(name, (size,)).float() + self._config.norm_offset
        return weight.to(self._device, self._dtype, copy=True)

    def layer(self, number: int) -> Layer:
        config, prefix = self._config, f"model.layers.{number}"
        hidden, head = config.hidden_size, config.head_dim
        qk_norm = None
        if config.has_qk_norm:
            q = self.norm(f"{prefix}.self_attn.q_norm.weight", head)
            k = self.norm(f"{prefix}.self_attn.k_norm.weight", head)
            qk_norm = torch.cat((q.expand(config.heads, -1), k.expand(config.kv_heads, -1)))
        biases = {"qkv": config.qkv_bias, "out": config.out_bias}
        experts = None
        if config.experts is not None and number in config.experts.layers:
            experts = self._experts(config.experts, prefix)
        else:
            biases |= {"gate_up": config.mlp_bias, "down": config.mlp_bias}
        second, *post = _NORMS[config.has_post_norms]
        posts = [self.norm(f"{prefix}.{name}.weight", hidden) for name in post]
        return Layer(
            self.norm(f"{prefix}.input_layernorm.weight", hidden),
            posts[0] if posts else None,
            self.norm(f"{prefix}.{second}.weight", hidden),
            posts[1] if posts else None,
            qk_norm,
            {name: self._linear(prefix, name, has_bias) for name, has_bias in biases.items()},
            experts,
        )

    def _experts(self, config: ExpertConfig, prefix: str) -> Experts:
        hidden, inner = self._config.hidden_size, config.inner_size
        router, gate, up, down = (f"{prefix}.{name}.weight" for name in config.names)
        gate_up = [
            self.laid_out(
                torch.cat([self.tensor(name.format(n), (inner, hidden)) for name in (gate, up)])
            )
            for n in range(config.count)
        ]
        return Experts(
            self.tensor(router, (config.count, hidden)),
            gate_up,
            [
                self.laid_out(self.tensor(down.format(n), (hidden, inner)))
                for n in range(config.count)
            ],
            _ACTIVATIONS[self._config.activation],
            config.chosen,
            config.is_normalised,
        )

    def _linear(self, prefix: str, name: str, has_bias: bool) -> Linear:
        modules = projections(self._config)[name]
        weight = torch.cat([self.tensor(f"{prefix}.{m}.weight", self._shapes[m]) for m in modules])
        weight = self.laid_out(weight)
        if not has_bias:
            return Linear(weight, None)
        biases = [self.tensor(f"{prefix}.{m}.bias", self._shapes[m][:1]) for m in modules]
        return Linear(weight, torch.cat(biases))
