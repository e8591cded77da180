"""How likely a model finds some tokens, without ever holding all its logits.

A vocabulary of 150,000 makes the logits of a batch larger than the rest of the step together. Here
they are made for some tokens at a time, and where the head does not learn, what the backward pass
needs of them is worked out at once and kept at the size of the hidden states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from baigong.tuning.memory import LOGITS


class Likelihood(NamedTuple):
    """Of tokens, each (tokens,): their nats, and whether each was the likeliest."""

    nats: Tensor
    is_likeliest: Tensor


def likelihood(hidden: Tensor, head: Tensor, wanted: Tensor) -> Likelihood:
    """Nats of `wanted` tokens from the hidden states before them.

    Args:
        hidden: (tokens, hidden size), what the head would be given.
        head: (vocabulary, hidden size), the weights of the head; it has no bias.
        wanted: (tokens,), ids.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    else:
        dtype = hidden.dtype
    with torch.autocast(hidden.device.type, enabled=False):
        if torch.is_grad_enabled() and head.requires_grad:
            return _recomputed(hidden.to(dtype), head.to(dtype), wanted)
        found: tuple[Tensor, Tensor] = _Frozen.apply(hidden, head.detach().to(dtype), wanted)  # type: ignore[no-untyped-call]
        nats, is_likeliest = found
        return Likelihood(nats, is_likeliest)


def _rows(head: Tensor) -> int:
    return max(1, LOGITS // head.shape[0])


class _Frozen(torch.autograd.Function):
    """Cross entropy behind a head that does not learn.

    The gradient of one token's nats by its hidden state is (shares - one hot) @ head, whatever the
    token's weight in the loss turns out to be: it is a row that the backward pass only scales.
    """

    @staticmethod
    @override
    def forward(ctx: Any, hidden: Tensor, head: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        count = len(wanted)
        nats = torch.empty(count, device=hidden.device)
        is_likeliest = torch.empty(count, dtype=torch.bool, device=hidden.device)
        slopes = torch.empty_like(hidden, dtype=head.dtype) if ctx.needs_input_grad[0] else None
        for at in range(0, count, step := _rows(head)):
            part = slice(at, at + step)
            ids = wanted[part, None]
            logits = (hidden[part].to(head.dtype) @ head.T).float()
            own = logits.gather(1, ids)
            most = logits.max(1, keepdim=True).values
            is_likeliest[part] = (own >= most).squeeze(1)
            shares = logits.sub_(most).exp_()
            total = shares.sum(1, keepdim=True)
            nats[part] = (total.log() - (own - most)).squeeze(1)
            if slopes is not None:
                shares.div_(total).scatter_add_(1, ids, torch.full_like(own, -1.0))
                slopes[part] = shares.to(head.dtype) @ head
        if slopes is not None:
            ctx.save_for_backward(slopes)
            ctx.dtype = hidden.dtype
        ctx.mark_non_differentiable(is_likeliest)
        return nats, is_likeliest

    @staticmethod
    @override
    def backward(ctx: Any, nats: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return (slopes * nats[:, None]).to(ctx.dtype), None, None


def _recomputed(hidden: Tensor, head: Tensor, wanted: Tensor) -> Likelihood:
    """The same with a head that learns: logits are made again in the backward pass."""
    nats, is_likeliest = [], []
    for at in range(0, len(wanted), step := _rows(head)):
        part = slice(at, at + step)
        one = checkpoint(_plain, hidden[part], head, wanted[part], use_reentrant=False)
        nats.append(one[0])
        is_likeliest.append(one[1])
    return Likelihood(torch.cat(nats), torch.cat(is_likeliest))


def _plain(hidden: Tensor, head: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    logits = (hidden @ head.T).float()
    nats = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    return nats, logits.detach().argmax(-1) == wanted
