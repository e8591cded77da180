"""How likely the model held the tokens of a text: logprobs of its own distribution.

They are taken from the logits as the model made them, before temperature, penalties and grammar,
as OpenAI's and vLLM's are: an answer's logprobs do not depend on how it was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from baigong.inference.engine.batch import Sequence
from baigong.inference.engine.messages import Scores

_ROWS = 64  # of a prompt at once: 64 rows of 150,000 words are 40 MB


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


def score_prompt(head: Callable[[Tensor], Tensor], hidden: Tensor, sequence: Sequence) -> None:
    """Add to the sequence's `prompt_scores` what hidden states [count, hidden_size] tell.

    They are those of its ids from `computed` on, and each tells of the token after it. `head` makes
    logits of them.
    """
    scores = sequence.prompt_scores
    assert scores is not None
    # One that lost its place in the cache passes through again; what is known is not told twice.
    first = len(scores) + 1
    last = min(sequence.computed + len(hidden) + 1, sequence.prompt)
    count = sequence.sampling.logprobs or 0
    for start in range(first, last, _ROWS):
        end = min(start + _ROWS, last)
        row = start - 1 - sequence.computed
        logits = head(hidden[row : row + end - start])
        scores += _scores(logits, sequence.ids[start:end], [count] * (end - start))


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
