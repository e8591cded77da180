"""What to tune and how: the wish (TuneSpec), and the wish with every "auto" resolved (Settings)."""

from __future__ import annotations

from typing import Literal

import msgspec

from baigong.errors import InvalidInput
from baigong.graders import Grader

Auto = Literal["auto"]
Method = Literal["lora", "dora", "full"]
Goal = Literal[
    "supervised",
    "continued",
    "distill",
    "grpo",
    "dpo",
    "kto",
    "orpo",
    "classify",
    "regress",
    "embed",
    "rerank",
    "images",
]

AUTO: Auto = "auto"

# Objectives whose result is a model folder, whatever the method: a head goes with it, or files that say
# how it is read, and an adapter has no place for them.
WHOLE: frozenset[Goal] = frozenset({"classify", "regress", "embed", "rerank", "images"})

# Where a model is this small its usual LoRA settings learn almost nothing: there is little in the
# base to reuse, so that the adapter must carry more and move further.
TINY_PARAMETERS = 50_000_000
_EVALUATIONS = 8  # over a whole run, about
# Validation rows that an evaluation reads: so many, or such a share of the rows learnt since the last one
# where that is more. Reading a row takes a third of learning from it: a twelfth of the time at most.
_WATCHED_ROWS, _WATCHED_SHARE = 256, 1 / 4
# Answers are made anew in every step of grpo, which costs tens of supervised ones.
_SAMPLED_STEPS = 200
PREFERENCES: frozenset[Goal] = frozenset({"dpo", "kto", "orpo"})
# Those that are held to what the base says of every row, worked out before the first step.
REFERRED: frozenset[Goal] = frozenset({"dpo", "kto"})
_PREFERENCE_EPOCHS = 3
# The sapling, its loss of DPO 0.69 before: 1.26 after three steps at a quarter of the usual rate.
# Of a gradient of grpo the greater part is noise.
_SLOWER: dict[Goal, float] = {"dpo": 20, "kto": 20, "orpo": 4, "grpo": 4}
_BETA = 0.1  # what the papers of DPO, KTO and ORPO mostly take


class TuneSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A wish to tune; "auto" lets `plan` choose from the data and the size of the model.

    Attributes:
        objective: what the rows teach, a row of `objectives.OBJECTIVES`.
        method: "lora" trains an adapter on all linear layers, "dora" one that also scales what it is
            added to (weight-decomposed, arXiv 2402.09353), "full" the whole model.
        rank: of the adapter's matrices.
        alpha: the adapter is scaled by alpha / rank.
        dropout: of the adapter's input, while training.
        epochs: passes over the training rows.
        learning_rate: the highest; warm-up leads to it, a cosine from it to zero.
        batch_size: rows in one step.
        augment: of pictures, train on moved, turned and otherwise lit ones.
        flip: and on mirrored ones.
        beta: "dpo", "kto": how strongly the model is held
            to the one it was; "orpo": how much the odds weigh beside the likelihood (its lambda);
            "grpo": the weight of the divergence from the base, none unless it is given.
        seed: of everything random.
        max_minutes: the run is planned, and if need be shortened, to end in this time; None is
            no limit.
        checkpoint_s: seconds between checkpoints; what a kill can cost.
        threads: of each process; 0 means one for each physical core that may be used.
        processes: that share every batch; 0 means one for each GPU, or one.
        checkpoints: how many adapters of the last evaluations are kept beside the result.
        trials: how many settings to try; the best on the validation rows is kept (`search`).
        teacher: folder of the model that distill learns from, of the same tokenizer.
        temperature: distill softens both distributions by it; grpo samples with it.
        mix: the share of distill's loss that is the teacher's; the rest is the rows' own answers.
        rewards: of grpo; what an answer is worth is the mean of what they say.
        group: of grpo; answers that are sampled for each prompt.
        answer_tokens: of grpo; the longest answer that is sampled.
    """

    objective: Goal = "supervised"
    method: Method = "lora"
    rank: int | Auto = AUTO
    alpha: float | Auto = AUTO
    dropout: float | Auto = AUTO
    epochs: float | Auto = AUTO
    learning_rate: float | Auto = AUTO
    batch_size: int | Auto = AUTO
    augment: bool = True
    flip: bool = False
    beta: float | Auto = AUTO
    seed: int = 0
    max_minutes: float | None = None
    checkpoint_s: float = 30.0
    threads: int = 0
    processes: int = 0
    checkpoints: int = 0
    trials: int = 1
    teacher: str = ""
    temperature: float = 1.0
    mix: float = 0.5
    rewards: tuple[Grader, ...] = ()
    group: int = 8
    answer_tokens: int | Auto = AUTO

    def __post_init__(self) -> None:
        _within("rank", self.rank, 1, 1024)
        _within("alpha", self.alpha, 1e-3, 1e5)
        _within("dropout", self.dropout, 0, 0.9)
        _within("epochs", self.epochs, 0.01, 10_000)
        _within("learning_rate", self.learning_rate, 1e-8, 1.0)
        _within("batch_size", self.batch_size, 1, 4096)
        _within("beta", self.beta, 1e-4, 10)
        _within("seed", self.seed, 0, 2**32 - 1)
        _within("checkpoint_s", self.checkpoint_s, 0, 86_400)
        _within("threads", self.threads, 0, 1024)
        _within("processes", self.processes, 0, 1024)
        _within("checkpoints", self.checkpoints, 0, 100)
        _within("trials", self.trials, 1, 1000)
        _within("temperature", self.temperature, 0.05, 10)
        _within("mix", self.mix, 0, 1)
        _within("group", self.group, 2, 256)
        _within("answer_tokens", self.answer_tokens, 1, 100_000)
        if self.max_minutes is not None:
            _within("max_minutes", self.max_minutes, 0.05, 100_000)
        if self.objective == "grpo" and not self.rewards:
            raise InvalidInput(
                "tune.rewards is empty, and grpo learns from nothing else.",
                hint='Give one grader at least, e.g. {"type": "string_check", "operation": "eq"}.',
                param="tune.rewards",
            )
        if self.objective == "distill" and not self.teacher:
            raise InvalidInput(
                "tune.teacher is empty.",
                hint="Name the model to learn from.",
                param="tune.teacher",
            )


def _within(name: str, value: float | Auto, low: float, high: float) -> None:
    if value == AUTO:
        return
    if isinstance(value, str) or not low <= value <= high:
        raise InvalidInput(
            f"tune.{name} is {value!r}.",
            hint=f'Use a number from {low:g} to {high:g}, or "auto" where it is allowed.',
            param=f"tune.{name}",
        )


class Settings(msgspec.Struct, frozen=True):
    """The hyper-parameters of one run; together with rows and base they decide its result."""

    objective: Goal
    method: Method
    rank: int
    alpha: float
    dropout: float
    epochs: float
    learning_rate: float
    batch_size: int
    seed: int
    steps: int
    warmup_steps: int
    evaluate_steps: int
    augment: bool = True
    flip: bool = False
    temperature: float = 1.0
    mix: float = 0.5
    rewards: tuple[Grader, ...] = ()
    group: int = 8
    answer_tokens: int = 128
    beta: float = 0.0

    @property
    def evaluations(self) -> float:
        """How often a run looks at validation rows, the last time at its end."""
        return max(1.0, self.steps / self.evaluate_steps)

    @property
    def watched_rows(self) -> int:
        """The most validation rows that an evaluation reads."""
        learnt = min(self.evaluate_steps, self.steps) * self.batch_size
        return max(_WATCHED_ROWS, round(learnt * _WATCHED_SHARE))

    @property
    def is_adapter(self) -> bool:
        """Whether the base's own weights stay as they are while it trains."""
        return self.method != "full"

    @property
    def makes_adapter(self) -> bool:
        """Whether an adapter is what comes out: one of DoRA is merged, for it scales the base."""
        return self.method == "lora" and self.objective not in WHOLE


def resolve(spec: TuneSpec, rows: int, parameters: int) -> Settings:
    """Every "auto" chosen, for `rows` training rows and a base of `parameters` weights."""
    tiny, samples = parameters < TINY_PARAMETERS, spec.objective == "grpo"
    batch = spec.batch_size if spec.batch_size != AUTO else 8 if samples else _batch(rows)
    each = -(-rows // batch)
    epochs = spec.epochs if spec.epochs != AUTO else _epochs(each, tiny, spec.objective)
    rank = spec.rank if spec.rank != AUTO else (64 if tiny else 16)
    alpha = spec.alpha if spec.alpha != AUTO else 2.0 * rank
    # Drawing the random numbers takes a fifth of a tiny model's step.
    dropout = spec.dropout if spec.dropout != AUTO else (0.0 if tiny or samples else 0.05)
    rate = (
        spec.learning_rate
        if spec.learning_rate != AUTO
        else _rate(spec.method, tiny, spec.objective)
    )
    steps = max(1, round(each * epochs))
    return Settings(
        objective=spec.objective,
        method=spec.method,
        rank=rank,
        alpha=float(alpha),
        dropout=float(dropout),
        epochs=epochs,
        learning_rate=rate,
        batch_size=batch,
        augment=spec.augment,
        flip=spec.flip,
        seed=spec.seed,
        steps=steps,
        warmup_steps=max(1, min(100, steps // 16)),
        evaluate_steps=max(1, each * max(1, round(epochs / _EVALUATIONS))),
        temperature=spec.temperature,
        mix=spec.mix,
        rewards=spec.rewards,
        group=spec.group,
        answer_tokens=answer_tokens(spec),
        beta=spec.beta if spec.beta != AUTO else _BETA if spec.objective in PREFERENCES else 0.0,
    )


def answer_tokens(spec: TuneSpec) -> int:
    """The longest answer that grpo samples."""
    return spec.answer_tokens if spec.answer_tokens != AUTO else 128


def _batch(rows: int) -> int:
    """Small data needs many small steps; large data is served better by fewer, fuller ones."""
    return 8 if rows < 1000 else 16 if rows < 20_000 else 32


def _epochs(steps_each: int, tiny: bool, objective: Goal) -> int:
    """Passes enough for about this many steps; which of two answers is better is soon known by heart."""
    if objective in PREFERENCES:
        return _PREFERENCE_EPOCHS
    wanted, most = (3000, 20) if tiny else (600, 5)
    if objective == "grpo":
        return max(1, min(most, round(_SAMPLED_STEPS / steps_each)))
    return max(3, min(most, round(wanted / steps_each)))


def _rate(method: Method, tiny: bool, objective: Goal) -> float:
    """Whole likelihoods against each other (DPO, KTO) move a model far in one step, means less so."""
    if method == "full":
        rate = 1e-3 if tiny else 2e-5
    else:
        rate = 2e-3 if tiny else 2e-4
    return rate / _SLOWER.get(objective, 1)
