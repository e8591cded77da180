"""Group relative policy optimisation: answers that are sampled, graded, and made likelier or not.

After arXiv 2402.03300, as arXiv 2503.20783 mends it (Dr. GRPO): an advantage is the reward less the
group's mean, not divided by its spread, which would weigh questions that are nearly always or never
answered above the others; and every token counts alike, over the places that there are, which neither
favours long wrong answers nor short right ones. Each answer serves for one step, by the weights that
made it: the ratio of the papers is 1, and there is nothing to clip. No divergence from the base is
taken off unless `beta` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from baigong.graders import reward
from baigong.model.chat import ChatTokenizer
from baigong.tuning.examples.rows import Example, Prepared
from baigong.tuning.examples.sampled import Prompt
from baigong.tuning.generate import generate
from baigong.tuning.job import TuneJob
from baigong.tuning.learner import Judged, read_answers
from baigong.tuning.weights import Weights, load_base, load_weights

_RIGHT = 1 - 1e-6
_FLAT = 1e-6  # a spread of rewards below which a group says nothing


class _Group(NamedTuple):
    """The answers to one prompt, and what each is worth."""

    prompt: Prompt
    answers: list[list[int]]
    worth: list[float]

    @property
    def mean(self) -> float:
        return sum(self.worth) / len(self.worth)

    @property
    def spread(self) -> float:
        return math.sqrt(sum(value**2 for value in self.advantages) / len(self.worth))

    @property
    def is_flat(self) -> bool:
        """Whether all are worth the same, so that nothing is to be learnt from them."""
        return max(self.worth) - min(self.worth) < _FLAT

    @property
    def advantages(self) -> list[float]:
        return [value - self.mean for value in self.worth]

    @property
    def examples(self) -> list[Example]:
        ids = self.prompt.ids
        return [Example([*ids, *answer], len(ids)) for answer in self.answers]


class _Seen:
    """What the answers of some steps were like."""

    def __init__(self) -> None:
        self.groups = self.flat = self.answers = self.tokens = 0
        self.reward = self.spread = 0.0

    def add(self, groups: Sequence[_Group]) -> None:
        for group in groups:
            self.groups += 1
            self.flat += group.is_flat
            self.reward += group.mean
            self.spread += group.spread
            self.answers += len(group.answers)
            self.tokens += sum(map(len, group.answers))

    def figures(self) -> dict[str, float]:
        """Means; nothing where nothing was seen."""
        if not self.groups:
            return {}
        return {
            "reward": self.reward / self.groups,
            "reward_spread": self.spread / self.groups,
            "answer_tokens": self.tokens / self.answers,
            "without_signal": self.flat / self.groups,
        }


class Grpo:
    """The policy gradient of rewards. Right is a prompt whose greedy answer earns all there is to earn."""

    def __init__(self, job: TuneJob, prepared: Prepared[Prompt]) -> None:
        self.weights = load_weights(job)
        self.settings = job.settings
        self.tokenizer = ChatTokenizer(Path(job.base))
        self.ends = sorted(self.tokenizer.eos_ids)
        self.base = None
        if self.settings.beta and not self.settings.is_adapter:
            self.base = load_base(Path(job.base)).to(self.weights.device).eval()
        self.groups: dict[int, _Group] = {}  # of the step that runs, by the prompt's identity
        self.seen = _Seen()

    def gather(self, parts: Sequence[Sequence[Prompt]]) -> None:
        """Sample and grade the answers of a whole step: decoding costs the less the more go together."""
        prompts = [prompt for part in parts for prompt in part]
        self.groups = {}
        if not prompts:
            return
        answers = self.answers(prompts, self.settings.temperature)
        size = self.settings.group
        for at, prompt in enumerate(prompts):
            group = answers[at * size : (at + 1) * size]
            worth = [self.reward(prompt, answer) for answer in group]
            self.groups[id(prompt)] = _Group(prompt, group, worth)
        self.seen.add(list(self.groups.values()))

    def loss(self, examples: Sequence[Prompt]) -> Tensor:
        groups = [self.groups[id(prompt)] for prompt in examples]
        told = [group for group in groups if self.settings.beta or not group.is_flat]
        return self._gradient(told) if told else self._nothing()

    @torch.no_grad()
    def judge(self, examples: Sequence[Prompt]) -> Judged:
        answers = self.answers(examples, 0.0)
        pairs = zip(examples, answers, strict=True)
        rewards = torch.tensor([self.reward(*pair) for pair in pairs], device=self.weights.device)
        places = torch.tensor([prompt.counted for prompt in examples], device=rewards.device)
        return Judged(((1 - rewards) * places).sum(), rewards >= _RIGHT)

    def figures(self) -> dict[str, float]:
        """Of the sampled answers: reward, its spread within groups, tokens; groups without a signal."""
        figures = self.seen.figures()
        self.seen = _Seen()
        return figures

    def answers(self, examples: Sequence[Prompt], temperature: float) -> list[list[int]]:
        """Answers of the model as it is now, each with the token that ended it."""
        model = self.weights.model
        was_training = model.training
        model.eval()
        # With few rows a product takes less time than turning the weights into bfloat16: 2048 tokens
        # of 64 answers by a base of 6.5 M weights take 1.9 s of processor time against 5.3.
        weights = self.weights
        exact = torch.autocast(weights.device.type, enabled=False)
        with weights.autocast() if weights.is_halved else exact:
            found = generate(
                model,
                [prompt.ids for prompt in examples],
                copies=examples[0].answers,
                rooms=[prompt.room for prompt in examples],
                ends=self.ends,
                temperature=temperature,
            )
        model.train(was_training)
        return found

    def reward(self, prompt: Prompt, answer: Sequence[int]) -> float:
        """What an answer is worth."""
        text = self.tokenizer.decode([id for id in answer if id not in self.ends])
        return reward(self.settings.rewards, text, prompt.wanted)

    def _gradient(self, groups: Sequence[_Group]) -> Tensor:
        """A number whose gradient is that of the expected reward, with its sign turned."""
        temperature = self.settings.temperature
        told = [one for group in groups for one in group.examples]
        nats = read_answers(self.weights, told, temperature=temperature).nats
        worth = torch.tensor([a for group in groups for a in group.advantages], device=nats.device)
        loss = (worth[:, None] * nats).sum()
        if not self.settings.beta:
            return loss
        with torch.no_grad(), self._as_base() as weights:
            before = read_answers(weights, told, temperature=temperature).nats
        # What the papers estimate it by: never below zero, and zero where nothing stands.
        apart = nats - before
        return loss + self.settings.beta * (apart.exp() - apart - 1).sum()

    @contextmanager
    def _as_base(self) -> Iterator[Weights]:
        """The weights as they were before the tuning, for the length of the block."""
        weights = self.weights
        if self.base is not None:
            yield Weights(self.base, {}, weights.base, weights.device)
            return
        with weights.model.disable_adapter():
            yield weights

    def _nothing(self) -> Tensor:
        """Zero, with a gradient of zeros: the optimiser makes its step whatever was sampled."""
        parts = [0.0 * p.flatten()[:1].sum() for p in self.weights.trained.values()]
        return torch.stack(parts).sum()
