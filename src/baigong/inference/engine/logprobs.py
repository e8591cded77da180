"""How likely the model held the tokens of a text: logprobs of its own distribution.

They are taken from the logits as the model made them, before temperature, penalties and grammar,
as OpenAI's and vLLM's are: an answer's logprobs do not depend on how it was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import torch
from torch import Tensor

from baigong.inference.engine.batch import Batch, Sequence
from baigong.inference.engine.messages import Scores


def score(logits: Tensor, sequences: Many[Sequence], tokens: Many[int]) -> list[Scores | None]:
    """Scores of the token chosen for each row of logits [rows, vocabulary], where it was asked."""
    found: list[Scores | None] = [None] * len(sequences)
    asked = [
        row
        for row, sequence in enumerate(sequences)
        if sequence.sampling.logprobs is not None and tokens[row] >= 0
    ]
    if asked:
        counts = [sequences[row].sampling.logprobs or 0 for row in asked]
        rows = logits if len(asked) == len(sequences) else logits[asked]
        for row, scores in zip(
            asked, _scores(rows, [tokens[r] for r in asked], counts), strict=True
        ):
            found[row] = scores
    return found


def score_prompts(logits: Tensor, batch: Batch) -> Tensor:
    """Note the scores of prompts that pass in this step, and give the rows of `batch.finished`.

    `logits` are [wanted, vocabulary] of `batch.wanted_rows`.
    """
    if not any(sequence.needs_prompt_rows for sequence in batch.sequences):
        return logits
    at = 0
    last: list[int] = []
    for sequence, count, due in zip(batch.sequences, batch.counts, batch.due, strict=True):
        if sequence.needs_prompt_rows:
            _score_prompt(logits[at : at + count], sequence)
        at += count if sequence.needs_prompt_rows else due
        last += range(at - due, at)
    return logits[last]


def _score_prompt(logits: Tensor, sequence: Sequence) -> None:
    """Of the ids from `computed` on: each row tells of the token after it."""
    scores, start = sequence.prompt_scores, sequence.computed
    assert scores is not None
    # One that lost its place in the cache passes through again; what is known is not told twice.
    first, last = len(scores) + 1, min(start + len(logits) + 1, sequence.prompt)
    if first < last:
        counts = [sequence.sampling.logprobs or 0] * (last - first)
        rows = logits[first - 1 - start : last - 1 - start]
        scores += _scores(rows, sequence.ids[first:last], counts)


def _scores(logits: Tensor, tokens: list[int], counts: list[int]) -> list[Scores]:
    """Of one token for each row, with as many of the likeliest as `counts` says."""
    logits = logits.float()
    whole = logits.logsumexp(-1, True)
    own = logits.gather(-1, torch.tensor(tokens, device=logits.device).unsqueeze(-1)) - whole
    values, indices = logits.topk(min(max(counts), logits.shape[-1]), -1)
    rows = zip(
        own.squeeze(-1).tolist(), indices.tolist(), (values - whole).tolist(), counts, strict=True
    )
    return [
        Scores(logprob, ids[:count], logprobs[:count]) for logprob, ids, logprobs, count in rows
    ]
