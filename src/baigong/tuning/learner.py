"""What the training loop asks of an objective, and how a batch of conversations is read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from baigong.tuning.examples.rows import Example, Prepared
from baigong.tuning.job import TuneJob
from baigong.tuning.likelihood import Likelihood, likelihood
from baigong.tuning.memory import WIDTHS
from baigong.tuning.objectives import OBJECTIVES
from baigong.tuning.weights import Weights

IGNORED = -100  # where no answer token follows
# Fields of config.json by which a family shapes its logits after the head.
_SHAPED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


class Judged(NamedTuple):
    """How some examples fare: their summed loss, and which of them the model gets right, (examples,)."""

    loss: Tensor
    is_right: Tensor


class Learner(Protocol):
    """An objective at work on one model. Sums, not means: parts of a batch can then be added up.

    Everything random comes from torch's generator, which the loop seeds before every step.
    """

    weights: Weights

    def __init__(self, job: TuneJob, prepared: Prepared[Any]) -> None: ...

    def loss(self, examples: Sequence[Any], /) -> Tensor:
        """Summed over what the examples count, with a gradient."""
        ...

    def judge(self, examples: Sequence[Any], /) -> Judged:
        """The same of validation examples, without one."""
        ...

    def figures(self) -> dict[str, float]:
        """What else is worth a line in the curve, of the steps since the last call."""
        ...


@runtime_checkable
class Gathers(Protocol):
    """A learner to whom the rows of one step say something together, not only each by itself."""

    def gather(self, parts: Sequence[Sequence[Any]], /) -> None:
        """Look at all that this process learns from in a step, before `loss` is asked of any part."""
        ...


def learner_of(job: TuneJob, prepared: Prepared[Any]) -> Learner:
    """The learner that a job asks for."""
    module, _, name = OBJECTIVES[job.settings.objective].learner.partition(":")
    found = importlib.import_module(f"baigong.tuning.learners.{module}")
    learner: Learner = getattr(found, name)(job, prepared)
    return learner


class Reading(NamedTuple):
    """A model's reading of some conversations, each (examples, columns) over where answers stand.

    Attributes:
        nats: of each answer token; zero where there is none.
        is_likeliest: whether it was the likeliest; true where there is none.
    """

    nats: Tensor
    is_likeliest: Tensor


def read_answers(
    weights: Weights, examples: Sequence[Example], *, temperature: float = 1.0
) -> Reading:
    """Have the model read conversations, and see how likely it finds their answers.

    Its logits are divided by the temperature. The output head sees answers alone.
    """
    ids, labels = padded(examples, weights.device)
    answers = labels != IGNORED
    each = _likelihood(weights, ids, labels, answers, temperature)
    columns = answers.any(0)
    at = answers[:, columns]
    nats = torch.zeros(at.shape, device=weights.device).masked_scatter(at, each.nats)
    is_likeliest = torch.ones_like(at).masked_scatter(at, each.is_likeliest)
    return Reading(nats, is_likeliest)


def padded(examples: Sequence[Example], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids, and the answer token that follows each place or IGNORED, both (examples, columns).

    Rows are padded on the right, where causal attention never looks: no mask is needed.
    """
    longest = max(len(example.ids) for example in examples)
    width = -(-longest // WIDTHS) * WIDTHS
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED)
    for number, example in enumerate(examples):
        row = torch.tensor(example.ids)
        ids[number, : len(row)] = row
        for start, stop in example.spans:
            # What stands at a column is predicted from the column before.
            labels[number, start - 1 : stop - 1] = row[start:stop]
    return ids.to(device), labels.to(device)


def answer_logits(causal: Any, ids: Tensor, answers: Tensor) -> Tensor:
    """What a model says before each answer token, (answers, vocabulary) in float32."""
    columns = answers.any(0)
    logits = causal(input_ids=ids, logits_to_keep=columns.nonzero().squeeze(1), use_cache=False)
    chosen: Tensor = logits.logits[answers[:, columns]].float()
    return chosen


def _likelihood(
    weights: Weights, ids: Tensor, labels: Tensor, answers: Tensor, temperature: float
) -> Likelihood:
    """Of the labels where there are answers, (answers,)."""
    causal = weights.causal
    if _is_plain(causal):
        inner = getattr(causal, causal.base_model_prefix)
        hidden = inner(input_ids=ids, use_cache=False).last_hidden_state
        head = causal.get_output_embeddings().weight
        return likelihood(hidden[answers] / temperature, head, labels[answers])
    chosen = answer_logits(causal, ids, answers) / temperature
    nats = torch.nn.functional.cross_entropy(chosen, labels[answers], reduction="none")
    return Likelihood(nats, chosen.detach().argmax(-1) == labels[answers])


def _is_plain(causal: Any) -> bool:
    """Whether logits are the head's product with the last hidden state, and nothing else."""
    head = causal.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.bias is not None:
        return False
    config = causal.config.get_text_config()
    return not any(getattr(config, name, None) for name in _SHAPED)
