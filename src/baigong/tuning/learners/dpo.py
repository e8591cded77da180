"""Direct preference optimisation, by its first loss (arXiv 2305.18290, equation 7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from typing_extensions import override

from baigong.tuning.examples.preferences import Pair
from baigong.tuning.examples.rows import Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.learners.answers import log_likelihood, reference
from baigong.tuning.learners.pairs import Compared, PairLearner, both, sigmoid_losses


class DPO(PairLearner):
    """The reward of an answer is beta times what the model adds to its log-likelihood by the base."""

    def __init__(self, job: TuneJob, prepared: Prepared[Pair]) -> None:
        super().__init__(job)
        pairs = [*prepared.train, *prepared.validation]
        known = reference(self.weights, both(pairs))
        halves = zip(pairs, known[: len(pairs)], known[len(pairs) :], strict=True)
        self._known = {pair.row: (chosen, rejected) for pair, chosen, rejected in halves}

    @override
    def compare(self, pairs: Sequence[Pair]) -> Compared:
        now = log_likelihood(self.weights, both(pairs)).view(2, -1)
        before = torch.tensor([self._known[pair.row] for pair in pairs], device=now.device).T
        chosen, rejected = (self.beta * (now - before)).unbind()
        return Compared(sigmoid_losses(chosen, rejected), chosen, rejected)
