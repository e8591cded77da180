"""Answers of a model that is being trained: many at once, through its cache, by torch's generator.

The engine serves weights that stand still and lives in another process. Here the weights change with
every step, and the answers must follow from the step's seed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

_KEPT = 0.5  # of the rows still to run, below which those that have ended leave the batch


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int,
    rooms: Sequence[int],
    ends: Sequence[int],
    temperature: float,
) -> list[list[int]]:
    """Several answers to each prompt, those of one prompt side by side.

    Args:
        model: a decoder of transformers, in evaluation mode.
        prompts: token ids, none empty; each is read once, whatever the number of its answers.
        copies: answers to each prompt.
        rooms: how many tokens an answer to each prompt may have.
        ends: tokens that end an answer; the one that did is its last.
        temperature: of the distribution that is sampled; 0 takes the likeliest.
    """
    ids, mask = _padded(prompts, model.device)
    cache = DynamicCache(config=model.config)
    kept = {_cache_name(model): cache, "use_cache": True, "logits_to_keep": 1}
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, **kept).logits
    logits = logits[:, -1].repeat_interleave(copies, 0)
    cache.batch_repeat_interleave(copies)
    mask = mask.repeat_interleave(copies, 0)
    left = torch.tensor(rooms, device=model.device).repeat_interleave(copies)
    finals = torch.tensor(list(ends), device=model.device)
    answers: list[list[int]] = [[] for _ in range(len(prompts) * copies)]
    running = list(range(len(answers)))  # which answer each row of the batch is
    while True:
        tokens = _chosen(logits, temperature)
        left = left - 1
        for row, token in enumerate(tokens.tolist()):
            if running[row] >= 0:
                answers[running[row]].append(token)
        over = torch.isin(tokens, finals) | (left <= 0)
        running = [
            -1 if is_over else one for one, is_over in zip(running, over.tolist(), strict=True)
        ]
        alive = [row for row, one in enumerate(running) if one >= 0]
        if not alive:
            return answers
        if len(alive) <= _KEPT * len(running):
            rows = torch.tensor(alive, device=model.device)
            cache.batch_select_indices(rows)
            tokens, left, mask = tokens[rows], left[rows], mask[rows]
            running = [running[row] for row in alive]
        positions = mask.sum(1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        step = tokens[:, None]
        logits = model(input_ids=step, attention_mask=mask, position_ids=positions, **kept).logits
        logits = logits[:, -1]


def _cache_name(model: Any) -> str:
    """What the release of transformers that is here calls the argument."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    named = inspect.signature(base.forward).parameters
    return "cache" if "cache" in named else "past_key_values"


def _padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids on the right, so that all answers begin in the same column, and where they stand."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


def _chosen(logits: Tensor, temperature: float) -> Tensor:
    """The next token of each row, (rows,)."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.softmax(logits.float() / temperature, -1).multinomial(1).squeeze(1)
