"""From what a client asks for to a build: the file laid out, the recipe, the job, its row."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from baigong.app import Platform
from baigong.errors import BaigongError, DataProblems, InvalidInput, NotFound
from baigong.gateway.bodies import shown
from baigong.gateway.doors.openai.fine_tuning.rewards import (
    own_grader,
    put_answers,
    wanted_field,
)
from baigong.gateway.doors.openai.fine_tuning.rows import FineTuning, FineTunings, event
from baigong.gateway.doors.openai.fine_tuning.wire import (
    OBJECTIVE_OF,
    ORGANIZATION,
    Asked,
    CreateJob,
)
from baigong.hub.access import acting
from baigong.industry.builds import Builds
from baigong.industry.recipe import Recipe
from baigong.industry.tuned import recipe_from
from baigong.store.files import Files
from baigong.tuning.base import read_base
from baigong.tuning.spec import TuneSpec, resolve

LEAST_ROWS = 10  # as at OpenAI
CHECKPOINTS = 3  # likewise
TRAINING, VALIDATION = "training.jsonl", "validation.jsonl"
PURPOSE = "fine-tune"

_TEST_SHARE = 0.1
_TEST_ROWS = 200  # asked at most: more cost time and say little more
_PLAIN = re.compile(r"[^a-z0-9]+")


class Maker:
    """Makes jobs. All methods block."""

    def __init__(self, platform: Platform, files: Files, rows: FineTunings, builds: Builds) -> None:
        self._platform = platform
        self._files = files
        self._rows = rows
        self._builds = builds

    def make(self, create: CreateJob, owner: str | None) -> FineTuning:
        """A job that goes on in the background; one whose file is too short has failed already.

        Raises:
            InvalidInput: a field does not fit.
        """
        asked = create.asked(secrets.randbelow(2**31))
        rate = self._rate(asked)
        short = secrets.token_hex(4)
        name = f"ft-{short}"
        suffix = _PLAIN.sub("-", (create.suffix or "").lower()).strip("-")
        made = FineTuning(
            id=f"ftjob-{short}{secrets.token_hex(8)}",
            owner=owner,
            job=None,
            name=name,
            called=f"ft:{asked.model}:{ORGANIZATION}:{suffix}:{short}",
            asked=msgspec.to_builtins(asked),
            metadata=create.metadata,
            status="validating_files",
            error=None,
            results=[],
            tokens=None,
            created_at=time.time(),
            finished_at=None,
        )
        folder = self.folder(name)
        try:
            made = self._open(made, asked, rate, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        told = [event(made, f"Created fine-tuning job: {made.id}")]
        if made.error is not None:
            told.append(event(made, str(made.error["message"]), "error"))
        else:
            told.append(event(made, f"Validating training file: {asked.training_file}"))
        self._rows.add(made, told)
        return made

    def folder(self, name: str) -> Path:
        """Where the files of a job lie until it is over."""
        return self._platform.settings.jobs_folder / name

    def _open(self, made: FineTuning, asked: Asked, rate: float | None, folder: Path) -> FineTuning:
        files = self._files.of(made.owner)
        training = _lay(files, "training_file", asked.training_file, folder / TRAINING)
        validation = None
        if asked.validation_file is not None:
            validation = _lay(files, "validation_file", asked.validation_file, folder / VALIDATION)
        if asked.grader is not None and (field := wanted_field(asked.grader)) is not None:
            for file in filter(None, (training, validation)):
                put_answers(file, field)
        if (found := _rows(training)) < LEAST_ROWS:
            error = {
                "code": "invalid_n_examples",
                "message": f"The training file has {found} example(s), but must have at least"
                f" {LEAST_ROWS} examples",
                "param": "training_file",
            }
            shutil.rmtree(folder)
            return msgspec.structs.replace(
                made, status="failed", error=error, finished_at=time.time()
            )
        recipe = _recipe(made, asked, rate, training, validation)
        return msgspec.structs.replace(made, job=self._builds.open(recipe, made.owner).id)

    def _rate(self, asked: Asked) -> float | None:
        """The learning rate, where it is a multiple of what would be chosen.

        Raises:
            InvalidInput: the model is not one of the hub that can be tuned.
        """
        try:
            base = read_base(self._platform.hub.get("model", asked.model, acting.get()).folder)
        except BaigongError as error:
            raise _invalid(
                "model",
                f"The model {shown(asked.model)} cannot be fine-tuned, or does not exist.",
                "model_not_available",
                error.hint,
            ) from error
        if isinstance(asked.learning_rate_multiplier, str):
            return None
        # Which rate that is does not depend on the number of rows.
        rewards = [] if asked.grader is None else [own_grader(asked.grader)]
        wish = {"objective": OBJECTIVE_OF[asked.method], "rewards": rewards}
        spec = msgspec.convert(wish, TuneSpec)
        return min(
            1.0, resolve(spec, 1, base.parameters).learning_rate * asked.learning_rate_multiplier
        )


def _lay(files: Files, param: str, file_id: str, target: Path) -> Path:
    """An upload of the owner, where a build finds it."""
    try:
        file = files.get(file_id)
    except NotFound as error:
        raise _invalid(param, f"There is no file '{file_id[:80]}'.", "file_not_found") from error
    if file.purpose != PURPOSE:
        raise _invalid(
            param,
            f"The file '{file.id}' has the purpose '{file.purpose}'.",
            "invalid_file_purpose",
            f"Upload it with purpose={PURPOSE!r}.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    files.fetch(file, target)
    return target


def _recipe(
    made: FineTuning, asked: Asked, rate: float | None, training: Path, validation: Path | None
) -> Recipe:
    """What is built. A share of the rows is held out to test on, however few they are."""
    tune: dict[str, Any] = {
        "epochs": asked.n_epochs,
        "batch_size": asked.batch_size,
        "seed": asked.seed,
        "checkpoints": CHECKPOINTS,
    }
    if rate is not None:
        tune["learning_rate"] = rate
    if asked.method != "supervised":
        tune |= {"objective": OBJECTIVE_OF[asked.method], "beta": asked.beta}
    if asked.grader is not None:
        tune["rewards"] = [own_grader(asked.grader)]
    split: dict[str, Any] = {"test": _TEST_SHARE}
    if validation is not None:
        split["validation"] = str(validation)
    written = {
        "name": made.name,
        "title": made.called,
        "base": asked.model,
        "task": "preference" if asked.method == "dpo" else "chat",
        "data": {"rows": str(training), "split": split},
        "tune": tune,
        "evals": {"max_rows": _TEST_ROWS},
        "gate": {"rows": 1},
    }
    try:
        return recipe_from(written, made.id)
    except DataProblems as error:
        first = error.problems[0]
        param = "model" if first.field == "base" else first.field
        raise _invalid(param, f"{param}: {first.message}", "invalid_value") from error


def _rows(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _invalid(param: str, message: str, code: str, hint: str = "") -> InvalidInput:
    error = InvalidInput(message, hint=hint, param=param)
    error.code = code
    return error
