"""What changes a sequence's logits by the tokens it has: bias, and penalties for repeating itself."""

from __future__ import annotations

from collections.abc import Sequence as Many

import torch
from torch import Tensor

from baigong.types import Sampling


class Penalties:
    """A sequence's own changes, kept up with its ids from step to step.

    The definitions are those of OpenAI (bias, presence, frequency: of the answer's tokens) and of
    the CTRL paper (repetition: of the prompt's and the answer's).
    """

    def __init__(self, sampling: Sampling, prompt: int, vocabulary: int, device: torch.device):
        """`prompt` is how many of the sequence's ids are not the answer's."""
        self._sampling = sampling
        self._prompt = prompt
        self._noted = 0  # ids that have been counted
        self._known: set[int] = set()
        self._ids = torch.empty(0, dtype=torch.long, device=device)  # those known, each once
        self._counts = torch.zeros(vocabulary, device=device)  # in the answer
        bias = sampling.logit_bias
        self._biased = torch.tensor(list(bias), dtype=torch.long, device=device)
        self._bias = torch.tensor(list(bias.values()), dtype=torch.float32, device=device)

    @staticmethod
    def are_in(sampling: Sampling) -> bool:
        """Whether these settings change any logit."""
        return bool(
            sampling.logit_bias
            or sampling.presence_penalty
            or sampling.frequency_penalty
            or sampling.repetition_penalty != 1
        )

    def apply(self, row: Tensor, ids: Many[int]) -> None:
        """Change the logits row [vocabulary], float32, in place for the token after `ids`."""
        sampling = self._sampling
        self._note(ids)
        if len(self._biased):
            row.index_add_(0, self._biased, self._bias)
        values, counts = row[self._ids], self._counts[self._ids]
        repetition = sampling.repetition_penalty
        values = torch.where(values > 0, values / repetition, values * repetition)
        values -= sampling.frequency_penalty * counts + sampling.presence_penalty * (counts > 0)
        row.index_copy_(0, self._ids, values)

    def _note(self, ids: Many[int]) -> None:
        """Count the ids that have come since the last time."""
        fresh, answer = ids[self._noted :], ids[max(self._prompt, self._noted) :]
        self._noted = len(ids)
        new = list(set(fresh) - self._known)
        self._known.update(new)
        device = self._ids.device
        if new:
            self._ids = torch.cat((self._ids, torch.tensor(new, device=device)))
        if answer:
            said = torch.tensor(answer, device=device)
            self._counts.index_add_(0, said, torch.ones(len(answer), device=device))
