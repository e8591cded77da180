"""The objectives of tuning, in one table: what a row becomes, and who learns from it.

To add one is to add a file in `learners/` and a row. Nothing here imports torch: a platform that
plans a tuning needs to know what rows become, and the learner is imported where it learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baigong.tuning.labelled import Labelled, Measured, labels_of, numbers_of
from baigong.tuning.pairs import Joined, Matched, joined_of, matched_of
from baigong.tuning.pictured import Pictured, pictures_of
from baigong.tuning.preferences import Pair, Rated, pairs_of, rated_of
from baigong.tuning.rows import Encode, Example, answers_of
from baigong.tuning.spec import Goal


@dataclass(frozen=True, slots=True)
class Objective:
    """One way to learn from rows.

    Attributes:
        example: what a row becomes; a struct, so that rows can be kept on disk.
        reader: of a base's folder and its context in tokens, what turns a row into an example.
        learner: file and class in `learners/`, a `learner.Learner`.
    """

    example: type[Any]
    reader: Callable[[Path, int], Encode[Any]]
    learner: str


OBJECTIVES: dict[Goal, Objective] = {
    "supervised": Objective(Example, answers_of, "supervised:Supervised"),
    "classify": Objective(Labelled, labels_of, "classify:Classify"),
    "images": Objective(Pictured, pictures_of, "images:Images"),
    "embed": Objective(Matched, matched_of, "embed:Embed"),
    "rerank": Objective(Joined, joined_of, "rerank:Rerank"),
    "regress": Objective(Measured, numbers_of, "regress:Regress"),
    "dpo": Objective(Pair, pairs_of, "dpo:DPO"),
    "kto": Objective(Rated, rated_of, "kto:KTO"),
    "orpo": Objective(Pair, pairs_of, "orpo:ORPO"),
}
