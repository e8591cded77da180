"""What OpenAI's clients send to `/v1/fine_tuning`, and our rows in their words."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from baigong.errors import InvalidInput
from baigong.gateway.bodies import refused
from baigong.gateway.doors.openai.fine_tuning.rows import Event, FineTuning
from baigong.industry.aliases import Alias
from baigong.jobs import WISHED, Job, StepRow
from baigong.tuning.curve import Point
from baigong.tuning.objectives import OBJECTIVES

ORGANIZATION = "baigong"

Auto = Literal["auto"]
Epochs = Auto | Annotated[int, Meta(ge=1, le=1000)]
Batch = Auto | Annotated[int, Meta(ge=1, le=4096)]
Multiplier = Auto | Annotated[float, Meta(gt=0, le=1000)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]

_METADATA = re.compile(r"metadata\[(.+)\]")


class Hyperparameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`learning_rate_multiplier` is of the rate that is chosen automatically."""

    n_epochs: Epochs = "auto"
    batch_size: Batch = "auto"
    learning_rate_multiplier: Multiplier = "auto"


class DpoHyperparameters(Hyperparameters, frozen=True, forbid_unknown_fields=True):
    beta: Auto | Annotated[float, Meta(gt=0, le=2)] = "auto"


class Supervised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hyperparameters: Hyperparameters | None = None


class Dpo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hyperparameters: DpoHyperparameters | None = None


class ReinforcementHyperparameters(Hyperparameters, frozen=True, forbid_unknown_fields=True):
    """Evaluations and effort are chosen here: what these say is accepted only as "auto"."""

    compute_multiplier: Auto = "auto"
    eval_interval: Auto = "auto"
    eval_samples: Auto = "auto"
    reasoning_effort: Literal["default"] | None = None


class Reinforcement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grader: dict[str, Any]
    hyperparameters: ReinforcementHyperparameters | None = None


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None


class CreateJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`hyperparameters` is the older place of those of `method`."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    metadata: Metadata | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: list[dict[str, Any]] | None = None

    def asked(self, seed: int) -> Asked:
        """
        Raises:
            InvalidInput: it asks for what is not here, or says one thing twice.
        """
        if self.integrations:
            raise refused("integrations", "Integrations are not supported.", "Leave them out.")
        method = self.method or Method("supervised")
        if self.method is not None and self.hyperparameters is not None:
            raise InvalidInput(
                "Hyperparameters stand in method, and beside it.",
                hint=f"Keep method.{method.type}.hyperparameters.",
                param="hyperparameters",
            )
        if OBJECTIVE_OF[method.type] not in OBJECTIVES:
            raise refused(
                "method.type",
                f"The method '{method.type}' is not supported here.",
                f"Use one of: {', '.join(_supported())}.",
            )
        chosen: Supervised | Dpo | Reinforcement | None = getattr(method, method.type)
        if method.type == "reinforcement" and method.reinforcement is None:
            raise InvalidInput(
                "The field 'method.reinforcement.grader' is missing.",
                param="method.reinforcement.grader",
            )
        found = self.hyperparameters or (chosen and chosen.hyperparameters) or Hyperparameters()
        return Asked(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file,
            method=method.type,
            seed=seed if self.seed is None else self.seed,
            n_epochs=found.n_epochs,
            batch_size=found.batch_size,
            learning_rate_multiplier=found.learning_rate_multiplier,
            beta=found.beta if isinstance(found, DpoHyperparameters) else "auto",
            grader=None if method.reinforcement is None else method.reinforcement.grader,
        )


# A method's name -> the objective that it is here.
OBJECTIVE_OF: dict[str, Any] = {"supervised": "supervised", "dpo": "dpo", "reinforcement": "grpo"}


def _supported() -> list[str]:
    return [method for method, objective in OBJECTIVE_OF.items() if objective in OBJECTIVES]


class Asked(msgspec.Struct, frozen=True):
    """What a job is made from, every way of saying it brought into one."""

    model: str
    training_file: str
    validation_file: str | None
    method: Literal["supervised", "dpo", "reinforcement"]
    seed: int
    n_epochs: int | str = "auto"
    batch_size: int | str = "auto"
    learning_rate_multiplier: float | str = "auto"
    beta: float | str = "auto"
    grader: dict[str, Any] | None = None


def status_of(row: FineTuning, job: Job | None, steps: Sequence[StepRow]) -> str:
    """Where a job stands, in OpenAI's words and `paused`."""
    if row.finished_at is not None or job is None:
        return row.status
    if job.wish is not None:
        return WISHED[job.wish]
    if job.state in {"paused", "cancelled"}:
        return job.state
    done = {step.name for step in steps if step.state == "done"}
    if "prepare" not in done and not job.is_over:
        return "validating_files"
    begun = {step.name for step in steps}
    return "queued" if job.state == "queued" or "tune" not in begun else "running"


def job_object(row: FineTuning, job: Job | None, steps: Sequence[StepRow]) -> dict[str, Any]:
    asked = msgspec.convert(row.asked, Asked)
    status = status_of(row, job, steps)
    hyperparameters = _hyperparameters(asked, steps)
    method: dict[str, Any] = {"hyperparameters": dict(hyperparameters)}
    if asked.method == "dpo":
        method["hyperparameters"]["beta"] = asked.beta
    if asked.grader is not None:
        method["grader"] = asked.grader
    return {
        "id": row.id,
        "object": "fine_tuning.job",
        "created_at": int(row.created_at),
        "error": row.error,
        "fine_tuned_model": row.called if status == "succeeded" else None,
        "finished_at": None if row.finished_at is None else int(row.finished_at),
        "hyperparameters": hyperparameters,
        "model": asked.model,
        "organization_id": ORGANIZATION,
        "result_files": row.results,
        "seed": asked.seed,
        "status": status,
        "trained_tokens": row.tokens,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "estimated_finish": _estimated(steps) if status == "running" else None,
        "integrations": [],
        "metadata": row.metadata,
        "method": {"type": asked.method, asked.method: method},
    }


def _hyperparameters(asked: Asked, steps: Sequence[StepRow]) -> dict[str, Any]:
    """As they were asked for, and once it is planned, as they are."""
    plan = next((step.output for step in steps if step.name == "plan" and step.output), None)
    settings = {} if plan is None else plan["tune"]["settings"]
    multiplier = asked.learning_rate_multiplier
    return {
        "n_epochs": round(settings.get("epochs", 0)) or asked.n_epochs,
        "batch_size": settings.get("batch_size", asked.batch_size),
        "learning_rate_multiplier": 1.0 if multiplier == "auto" and settings else multiplier,
    }


def _estimated(steps: Sequence[StepRow]) -> int | None:
    """When the tuning ends; the steps behind it take less, as a rule."""
    tune = next((step for step in steps if step.name == "tune"), None)
    if tune is None or tune.state == "done" or not tune.progress:
        return None
    left = tune.progress["metrics"].get("seconds_left")
    return None if left is None else int(time.time() + left)


def event_object(event: Event) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": event.id,
        "created_at": int(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data,
    }


def checkpoint_object(row: FineTuning, alias: Alias, point: Point) -> dict[str, Any]:
    metrics = metrics_of(point)
    # Every validation row is read at every evaluation: the loss of a part is the loss of all.
    for name in ("valid_loss", "valid_mean_token_accuracy"):
        if name in metrics:
            metrics[f"full_{name}"] = metrics[name]
    return {
        "id": f"ftckpt_{row.short}{point.step:08d}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(alias.created_at),
        "fine_tuned_model_checkpoint": alias.name,
        "fine_tuning_job_id": row.id,
        "step_number": point.step,
        "metrics": metrics,
    }


def metrics_of(point: Point) -> dict[str, float]:
    """A point of the curve under OpenAI's names; what was not measured is not in it."""
    found = {
        "step": float(point.step),
        "train_loss": point.loss,
        "train_mean_token_accuracy": point.figures.get("token_accuracy"),
        "valid_loss": point.validation_loss,
        "valid_mean_token_accuracy": point.figures.get("validation_token_accuracy"),
    }
    return {name: value for name, value in found.items() if value is not None}


def metadata_of(request: Request) -> Mapping[str, str] | None:
    """What `metadata[key]=value` asks for; None where it asks for those without."""
    if request.query_params.get("metadata") == "null":
        return None
    items = request.query_params.multi_items()
    found = ((_METADATA.fullmatch(name), value) for name, value in items)
    return {match[1]: value for match, value in found if match is not None}
