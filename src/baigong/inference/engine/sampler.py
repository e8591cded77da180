"""From logits to tokens: greedy, or drawn so that a seed gives the same whatever runs beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from baigong.inference.engine.batch import Sequence
from baigong.inference.engine.penalties import Penalties

BROKEN = -1  # in place of a token: this row gave none

_MASK = (1 << 64) - 1
_SHORT_LIST = 256  # candidates looked at first where only top_p bounds them
_COLDEST = 1e-6


def sample(logits: Tensor, sequences: Many[Sequence]) -> list[int]:
    """One token for each row of logits [rows, vocabulary], which stay as they are.

    A row with a number that is not finite, or whose grammar has come to nothing, gets BROKEN.
    """
    best = logits.max(-1)  # a third of argmax's time, and NaN shows in the values
    tokens: list[int] = best.indices.tolist()
    if not math.isfinite(sum(best.values.tolist())):
        finite = best.values.isfinite().tolist()
        tokens = [t if is_finite else BROKEN for t, is_finite in zip(tokens, finite, strict=True)]
    special = [row for row, s in enumerate(sequences) if not s.is_plain and tokens[row] != BROKEN]
    if special:
        chosen = _choose(logits, special, sequences)
        for row, token in zip(special, chosen, strict=True):
            tokens[row] = token
    return tokens


def _choose(logits: Tensor, rows: list[int], sequences: Many[Sequence]) -> list[int]:
    """Tokens of those rows that ask for more than the likeliest."""
    chosen = [sequences[row] for row in rows]
    own = logits if len(rows) == len(logits) else logits[rows]
    if any(sequence.is_edited for sequence in chosen):
        own = own.to(torch.float32, copy=True)
        alive = [_edit(row, sequence) for row, sequence in zip(own, chosen, strict=True)]
    else:
        alive = [True] * len(rows)
    tokens: list[int] = own.argmax(-1).tolist()
    plain: list[int] = []
    filtered: list[int] = []
    for place, sequence in enumerate(chosen):
        sampling = sequence.sampling
        if sampling.temperature > 0 and alive[place]:
            is_plain = sampling.top_k == 0 and sampling.top_p >= 1
            (plain if is_plain else filtered).append(place)
    for places, draw in ((plain, _draw_plain), (filtered, _draw_filtered)):
        if places:
            drawn = draw(*_scaled(own, places, chosen), [chosen[place] for place in places])
            for place, token in zip(places, drawn.tolist(), strict=True):
                tokens[place] = token
    return [token if ok else BROKEN for token, ok in zip(tokens, alive, strict=True)]


def _edit(row: Tensor, sequence: Sequence) -> bool:
    """Change a row as its sequence asks; False when its grammar has come to nothing."""
    if sequence.matcher is not None and not sequence.matcher.mask(row):
        return False
    if Penalties.are_in(sequence.sampling):
        if sequence.penalties is None:
            sequence.penalties = Penalties(sequence.sampling, sequence.prompt, len(row), row.device)
        sequence.penalties.apply(row, sequence.ids)
    return True


def _scaled(logits: Tensor, rows: list[int], sequences: Many[Sequence]) -> tuple[Tensor, Tensor]:
    """Logits over temperature, float32, and one uniform number [rows, 1] for each row.

    Tokens below `min_p` are out of them.
    """
    wanted = logits if len(rows) == len(logits) else logits[rows]
    device = logits.device
    settings = [sequences[row].sampling for row in rows]
    # Smaller temperatures would divide to infinity, and change nothing any more.
    temperatures = [[max(s.temperature, _COLDEST)] for s in settings]
    uniforms = [[uniform(sequences[row].seed, len(sequences[row].ids))] for row in rows]
    scaled = wanted.float() / torch.tensor(temperatures, device=device)
    if any(s.min_p > 0 for s in settings):
        floor = torch.tensor([[s.min_p] for s in settings], device=device).log()
        scaled.masked_fill_(scaled < scaled.amax(-1, True) + floor, float("-inf"))
    return scaled, torch.tensor(uniforms, device=device)


def _draw_plain(logits: Tensor, uniforms: Tensor, sequences: Many[Sequence]) -> Tensor:
    return _pick(logits.softmax(-1), uniforms).squeeze(-1)


def _draw_filtered(logits: Tensor, uniforms: Tensor, sequences: Many[Sequence]) -> Tensor:
    """Keep the `top_k` likeliest, then of those the fewest that hold `top_p` of their weight."""
    vocabulary, device = logits.shape[-1], logits.device
    top_k = [min(s.sampling.top_k or vocabulary, vocabulary) for s in sequences]
    top_p = torch.tensor([[s.sampling.top_p] for s in sequences], device=device)
    longest = max(s.sampling.top_k or _SHORT_LIST for s in sequences)
    while True:
        values, indices = logits.topk(min(longest, vocabulary), -1)
        place = torch.arange(values.shape[-1], device=device)
        is_in = place < torch.tensor(top_k, device=device).unsqueeze(1)
        # Weights are shares of the whole for a row without top_k, else of its own top_k.
        whole = torch.where(is_in, values, float("-inf")).logsumexp(-1, True)
        unbounded = torch.tensor([[k == vocabulary] for k in top_k], device=device)
        whole = torch.where(unbounded, logits.logsumexp(-1, True), whole)
        weights = (values - whole).exp().masked_fill(~is_in, 0)
        before = weights.cumsum(-1) - weights
        # A short list is enough when what it holds reaches top_p in every row.
        if values.shape[-1] == vocabulary or bool(
            ((before[:, -1:] + weights[:, -1:] >= top_p) | ~unbounded).all()
        ):
            break
        longest = vocabulary
    weights = weights.masked_fill(before >= top_p, 0)
    return indices.gather(-1, _pick(weights, uniforms)).squeeze(-1)


def _pick(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The index [rows, 1] at which the running sum of weights passes the share `uniforms` of it."""
    sums = weights.cumsum(-1)
    picked = torch.searchsorted(sums, uniforms * sums[:, -1:], right=True)
    # Rounding may land past the last weight that is not zero.
    last = (weights > 0).long().mul_(torch.arange(weights.shape[-1], device=weights.device))
    return torch.minimum(picked, last.amax(-1, True))


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on these two alone (splitmix64 of their mix)."""
    x = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & _MASK
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)
