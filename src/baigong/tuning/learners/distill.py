"""Distillation from a teacher's distributions, where both cut texts alike (arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from baigong.tuning.examples.rows import Example, Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import IGNORED, Judged, answer_logits, padded
from baigong.tuning.weights import load_base, load_weights


class Distill:
    """The student's divergence from the teacher at each answer token, mixed with cross entropy.

    The divergence is the teacher's to the student (forward KL), of distributions that are softened by
    the temperature, times its square: so the gradients keep their size. Right is as in supervised.
    """

    def __init__(self, job: TuneJob, prepared: Prepared[Example]) -> None:
        self.weights = load_weights(job)
        self.teacher = load_base(Path(job.teacher)).to(self.weights.device).eval()
        self.teacher.requires_grad_(False)
        self.temperature, self.mix = job.settings.temperature, job.settings.mix
        self.diverged, self.tokens = 0.0, 0

    def loss(self, examples: Sequence[Example]) -> Tensor:
        loss, divergence, _ = self._learn(examples)
        self.diverged += float(divergence.detach())
        self.tokens += sum(example.counted for example in examples)
        return loss

    def judge(self, examples: Sequence[Example]) -> Judged:
        loss, _, is_right = self._learn(examples)
        return Judged(loss, is_right)

    def figures(self) -> dict[str, float]:
        """`divergence` from the teacher, nats a token."""
        figures = {"divergence": self.diverged / max(1, self.tokens)}
        self.diverged, self.tokens = 0.0, 0
        return figures

    def _learn(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """The summed loss, the part of it that is divergence, and who is right."""
        ids, labels = padded(examples, self.weights.device)
        answers = labels != IGNORED
        student = answer_logits(self.weights.causal, ids, answers)
        with torch.no_grad():
            teacher = answer_logits(self.teacher, ids, answers)
        divergence = self._divergence(student, teacher)
        wanted = labels[answers]
        nats = torch.nn.functional.cross_entropy(student, wanted, reduction="sum")
        is_likeliest = student.detach().argmax(-1) == wanted
        is_right = torch.ones_like(answers).masked_scatter(answers, is_likeliest).all(1)
        return self.mix * divergence + (1 - self.mix) * nats, divergence, is_right

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Summed over tokens; both are logits, (tokens, vocabulary)."""
        # Embeddings of one tokenizer may be padded to different lengths.
        width = min(teacher.shape[-1], student.shape[-1])
        ours, theirs = (
            torch.log_softmax(logits[:, :width] / self.temperature, -1)
            for logits in (student, teacher)
        )
        total = torch.nn.functional.kl_div(ours, theirs, reduction="sum", log_target=True)
        return self.temperature**2 * total
