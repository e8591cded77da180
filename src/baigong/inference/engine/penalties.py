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
        # Dense, because a row is read as a whole anyway: four bytes a word beside the logits' four.
        self._answer = torch.zeros(vocabulary, device=device)
        self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
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
        repetition = sampling.repetition_penalty
        if repetition != 1:
            pressed = torch.where(row > 0, row / repetition, row * repetition)
            torch.where(self._seen, pressed, row, out=row)
        if sampling.frequency_penalty:
            row.sub_(self._answer, alpha=sampling.frequency_penalty)
        if sampling.presence_penalty:
            row.sub_((self._answer > 0).float(), alpha=sampling.presence_penalty)

    def _note(self, ids: Many[int]) -> None:
        fresh = torch.tensor(ids[self._noted :], dtype=torch.long, device=self._seen.device)
        answer = fresh[max(0, self._prompt - self._noted) :]
        self._seen[fresh] = True
        self._answer.index_add_(0, answer, torch.ones_like(answer, dtype=torch.float32))
        self._noted = len(ids)
