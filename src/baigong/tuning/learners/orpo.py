"""Odds-ratio preference optimisation (arXiv 2403.07691): likelihood and preference in one loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from baigong.tuning.examples.preferences import Pair
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.learners.answers import log_likelihood
from baigong.tuning.learners.pairs import Compared, PairLearner, both, sigmoid_losses

_SURE = -1e-6  # a mean log-likelihood above this has odds that are no number


class ORPO(PairLearner):
    """Cross entropy of the chosen answer, plus beta times the loss of its odds against the other's.

    Both are means over an answer's tokens (equations 3 to 7). No reference: the likelihood itself
    holds the model. The reward of an answer is beta times its log odds.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Pair]) -> None:
        super().__init__(job)

    @override
    def compare(self, pairs: Sequence[Pair]) -> Compared:
        examples = both(pairs)
        sums = log_likelihood(self.weights, examples)
        tokens = torch.tensor([float(example.counted) for example in examples], device=sums.device)
        mean = (sums / tokens).view(2, -1)
        chosen, rejected = log_odds(mean).unbind()
        losses = self.beta * sigmoid_losses(chosen, rejected) - mean[0]
        return Compared(losses, self.beta * chosen, self.beta * rejected)


def log_odds(mean: Tensor) -> Tensor:
    """log(p / (1 - p)) of a p whose logarithm is given."""
    mean = mean.clamp(max=_SURE)
    return mean - torch.log(-torch.expm1(mean))
