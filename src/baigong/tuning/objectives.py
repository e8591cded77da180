"""The objectives of tuning, in one table: what a row becomes, and who learns from it.

To add one is to add a file in `learners/` and a row. Nothing here imports torch: a platform that
plans a tuning needs to know what rows become, and the learner is imported where it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baigong.tuning.examples.labelled import Labelled, Measured, labels_of, numbers_of
from baigong.tuning.examples.pairs import Joined, Matched, joined_of, matched_of
from baigong.tuning.examples.pictured import Pictured, pictures_of
from baigong.tuning.examples.preferences import Pair, Rated, pairs_of, rated_of
from baigong.tuning.examples.rows import Encode, Example, Prepared, answers_of, prepare
from baigong.tuning.examples.sampled import Prompt, prompts_of, sized
from baigong.tuning.examples.texts import packed, texts_of
from baigong.tuning.spec import Goal, TuneSpec
from baigong.tuning.suited import check_base
from baigong.types import Row


@dataclass(frozen=True, slots=True)
class Objective:
    """One way to learn from rows.

    Attributes:
        example: what a row becomes; a struct, so that rows can be kept on disk.
        reader: of a base's folder and its context in tokens, what turns a row into an example.
        learner: file and class in `learners/`, a `learner.Learner`.
        arrange: what all examples together become, for a wish and a context in tokens.
    """

    example: type[Any]
    reader: Callable[[Path, int], Encode[Any]]
    learner: str
    arrange: Callable[[Prepared[Any], TuneSpec, int], Prepared[Any]] = lambda prepared, *_: prepared


OBJECTIVES: dict[Goal, Objective] = {
    "supervised": Objective(Example, answers_of, "supervised:Supervised"),
    "classify": Objective(Labelled, labels_of, "classify:Classify"),
    "images": Objective(Pictured, pictures_of, "images:Images"),
    "embed": Objective(Matched, matched_of, "embed:Embed"),
    "rerank": Objective(Joined, joined_of, "rerank:Rerank"),
    "regress": Objective(Measured, numbers_of, "regress:Regress"),
    "continued": Objective(Example, texts_of, "supervised:Supervised", packed),
    "distill": Objective(Example, answers_of, "distill:Distill"),
    "grpo": Objective(Prompt, prompts_of, "grpo:Grpo", sized),
    "dpo": Objective(Pair, pairs_of, "dpo:DPO"),
    "kto": Objective(Rated, rated_of, "kto:KTO"),
    "orpo": Objective(Pair, pairs_of, "orpo:ORPO"),
}


def examples_of(rows: Sequence[Row], base: Path, context: int, spec: TuneSpec) -> Prepared[Any]:
    """What an objective makes of rows, for a base's folder and its context in tokens.

    Raises:
        InvalidInput: the base cannot learn this, or no training row is left.
    """
    check_base(base, spec.objective)
    objective = OBJECTIVES[spec.objective]
    prepared = prepare(rows, objective.reader(base, context))
    return objective.arrange(prepared, spec, context)
