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
_LONGER = 16  # times as many next
_COLDEST = 1e-6


def sample(logits: Tensor, sequences: Many[Sequence]) -> list[int]:
    """One token for each row of logits [rows, vocabulary], which stay as they are.

    Rows of one sequence stand together, and are of tokens that follow each other.
    A row with a number that is not finite, or whose grammar has come to nothing, gets BROKEN.
    """
    best = logits.max(-1)  # a third of argmax's time, and NaN shows in the values
    tokens: list[int] = best.indices.tolist()
    if not math.isfinite(sum(best.values.tolist())):
        finite = best.values.isfinite().tolist()
        tokens = [t if is_finite else BROKEN for t, is_finite in zip(tokens, finite, strict=True)]
    special = [row for row, s in enumerate(sequences) if not s.is_plain and tokens[row] != BROKEN]
    if special:
        chosen = [sequences[row] for row in special]
        own = logits if len(special) == len(logits) else logits[special]
        drawn = _choose(own, [tokens[row] for row in special], chosen)
        for row, token in zip(special, drawn, strict=True):
            tokens[row] = token
    return tokens


def _choose(logits: Tensor, likeliest: list[int], sequences: Many[Sequence]) -> list[int]:
    """Tokens of rows that may ask for more than the likeliest, which stand at first."""
    tokens = list(likeliest)
    edited = [row for row, sequence in enumerate(sequences) if sequence.is_edited]
    if edited:
        logits = logits.to(torch.float32, copy=True)
        for row in edited:
            is_alive = _edit(logits[row], sequences[row])
            tokens[row] = int(logits[row].max(-1).indices) if is_alive else BROKEN
    plain: list[int] = []
    filtered: list[int] = []
    for row, sequence in enumerate(sequences):
        sampling = sequence.sampling
        if sampling.temperature > 0 and tokens[row] != BROKEN:
            is_plain = sampling.top_k == 0 and sampling.top_p >= 1
            (plain if is_plain else filtered).append(row)
    for rows, draw in ((plain, _draw_plain), (filtered, _draw_filtered)):
        if rows:
            drawn = draw(*_scaled(logits, rows, sequences), [sequences[row] for row in rows])
            for row, token in zip(rows, drawn.tolist(), strict=True):
                tokens[row] = token
    return tokens


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
    places = _places(sequences)
    settings = [sequences[row].sampling for row in rows]
    # Smaller temperatures would divide to infinity, and change nothing any more.
    temperatures = [[max(s.temperature, _COLDEST)] for s in settings]
    uniforms = [[uniform(sequences[row].seed, places[row])] for row in rows]
    scaled = wanted.float() / torch.tensor(temperatures, device=device)
    if any(s.min_p > 0 for s in settings):
        floor = torch.tensor([[s.min_p] for s in settings], device=device).log()
        scaled.masked_fill_(scaled < scaled.amax(-1, True) + floor, float("-inf"))
    return scaled, torch.tensor(uniforms, device=device)


def _places(sequences: Many[Sequence]) -> list[int]:
    """Where in its sequence each row's token will stand."""
    places: list[int] = []
    for row, sequence in enumerate(sequences):
        is_next = row > 0 and sequences[row - 1] is sequence
        places.append(places[-1] + 1 if is_next else len(sequence.ids))
    return places


def _draw_plain(logits: Tensor, uniforms: Tensor, sequences: Many[Sequence]) -> Tensor:
    return _pick(logits.softmax(-1), uniforms).squeeze(-1)


def _draw_filtered(
    logits: Tensor, uniforms: Tensor, sequences: Many[Sequence], listed: int = _SHORT_LIST
) -> Tensor:
    """Keep the `top_k` likeliest, then of those the fewest that hold `top_p` of their weight.

    Only the `listed` likeliest are put in order: a whole vocabulary takes fifty times as long. Rows
    that need more of them are done again with a longer list.
    """
    vocabulary, device = logits.shape[-1], logits.device
    top_k = [min(s.sampling.top_k or vocabulary, vocabulary) for s in sequences]
    top_p = torch.tensor([[s.sampling.top_p] for s in sequences], device=device)
    listed = min(vocabulary, max(listed, *(s.sampling.top_k for s in sequences)))
    values, indices = logits.topk(listed, -1)
    place = torch.arange(listed, device=device)
    is_in = place < torch.tensor(top_k, device=device).unsqueeze(1)
    # Weights are shares of the whole for a row without top_k, else of its own top_k.
    whole = torch.where(is_in, values, float("-inf")).logsumexp(-1, True)
    unbounded = torch.tensor([[k == vocabulary] for k in top_k], device=device)
    whole = torch.where(unbounded, logits.logsumexp(-1, True), whole)
    weights = (values - whole).exp().masked_fill(~is_in, 0)
    sums = weights.cumsum(-1)
    before = sums - weights
    kept = weights.masked_fill(before >= top_p, 0)
    tokens = indices.gather(-1, _pick(kept, uniforms)).squeeze(-1)
    if listed < vocabulary:
        short = ((sums[:, -1:] < top_p) & unbounded).squeeze(-1).nonzero().squeeze(-1)
        if rows := short.tolist():
            rest = [sequences[row] for row in rows]
            tokens[short] = _draw_filtered(logits[short], uniforms[short], rest, _LONGER * listed)
    return tokens


def _pick(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The index [rows, 1] at which the running sum of weights passes the share `uniforms` of it."""
    sums = weights.cumsum(-1)
    whole = sums[:, -1:]
    # Below the whole, where rounding would reach it, so that the last weight above zero is picked.
    wanted = torch.minimum(uniforms * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(sums, wanted, right=True)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on these two alone (splitmix64 of their mix)."""
    x = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & _MASK
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)
